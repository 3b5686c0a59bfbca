package main

import (
	"cmp"
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/supervise"
)

// runCommand is how the renderer runs a template's command: only supervise starts
// processes. The command inherits what the program would, without credentials.
func runCommand(cfg *config.Config, env environ.Environ) func(context.Context, envtemplate.Command) error {
	inherited := inherit(cfg.Environment)
	path, _ := env.Get("PATH")
	return func(ctx context.Context, c envtemplate.Command) error {
		timeout := c.Timeout
		if timeout <= 0 {
			timeout = 30 * time.Second
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return supervise.RunCommand(ctx, supervise.Command{
			Args: throughShell(c.Args), Env: commandEnvironment(inherited, c).List(), Path: path, Dir: cmp.Or(cfg.Program.Dir, cfg.WorkDir),
		})
	}
}

// throughShell gives a lone string that is more than a program's name to the shell, as
// Vault's agent does: "systemctl reload nginx".
func throughShell(args []string) []string {
	if len(args) != 1 || !strings.ContainsAny(args[0], " \t\n;&|<>()$`\"'*?") {
		return args
	}
	if runtime.GOOS == "windows" {
		return []string{"cmd", "/C", args[0]}
	}
	return []string{"sh", "-c", args[0]}
}

// commandEnvironment follows exec.env of a template stanza.
func commandEnvironment(inherited environ.Environ, c envtemplate.Command) environ.Environ {
	base := inherited
	if c.Pristine {
		base = environ.Environ{}
	}
	if len(c.Allowlist) > 0 {
		base = base.Keep(c.Allowlist...)
	}
	all, _ := base.Strip(c.Denylist...).Merge(environ.From(c.Env), environ.Override) // only Conflict fails
	return all
}
