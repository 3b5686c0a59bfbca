package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// level is how a finding of `envexec check` is meant.
type level string

const (
	fine    level = "ok"
	doubt   level = "warning" // worth knowing, or what cannot be told
	trouble level = "problem" // envexec would not start, or not get a secret
)

// areas are all that a finding can be about.
var areas = []string{"configuration", "program", "file", "listener", "certificate", "credential", "sink", "template", "vault", "login", "token", "secret"}

// finding is one thing check looked at.
type finding struct {
	Level   level  `json:"level"`
	Area    string `json:"area"` // one of areas
	Message string `json:"message"`
}

// checkup is the whole answer of `envexec check`.
type checkup struct {
	OK       bool             `json:"ok"`
	Status   int              `json:"status"` // the exit status
	Findings []finding        `json:"findings"`
	Settings []config.Setting `json:"settings,omitempty"` // with --explain

	used bool // a credential would be used up by a login
}

// has reports whether there is a problem in an area.
func (c *checkup) has(area string) bool {
	return slices.ContainsFunc(c.Findings, func(f finding) bool { return f.Level == trouble && f.Area == area })
}

func (c *checkup) add(l level, area, format string, args ...any) {
	c.Findings = append(c.Findings, finding{l, area, fmt.Sprintf(format, args...)})
}

// fail notes every line of err as a problem of its own; status counts unless a
// graver one was there before.
func (c *checkup) fail(area string, status int, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		c.add(trouble, area, "%s", strings.TrimRight(line, "\n"))
	}
	if c.Status == 0 {
		c.Status = status
	}
}

// runCheck looks at everything a start needs and changes nothing: no file is removed
// or written, nothing is unwrapped, no lease is made, and its own login is revoked.
func runCheck(ctx context.Context, cfg *config.Config, env environ.Environ, stdout io.Writer) (int, error) {
	c := &checkup{}
	for _, w := range cfg.Warnings {
		c.add(doubt, "configuration", "%s", w.Error())
	}
	if len(cfg.Warnings) == 0 {
		c.add(fine, "configuration", "no problem found")
	}
	if cfg.Check.Explain {
		c.Settings = cfg.Settings
	}
	if cfg.Check.Offline {
		c.contents(cfg)
	} else {
		c.local(cfg, env)
		c.server(ctx, cfg, env)
	}
	return c.Status, c.print(stdout, cfg.Check.Format)
}

// contents parses the templates that stand in the configuration itself and opens nothing.
func (c *checkup) contents(cfg *config.Config) {
	parse := func(at config.Position, w envtemplate.Config) {
		w.Logger, w.Source = silent(), struct{ envtemplate.Source }{} // nothing is asked of it
		_, err := envtemplate.New(w)
		switch {
		case err == nil:
		case cfg.Check.Lenient:
			c.add(doubt, "template", "%s: %v", at, err)
		default:
			c.fail("template", statusConfig, fmt.Errorf("%s: %w", at, err))
		}
	}
	for _, t := range cfg.Secrets.Templates {
		if t.Contents != "" && t.Destination != "" {
			parse(t.Pos, envtemplate.Config{Templates: []envtemplate.Template{{
				Destination: t.Destination, Contents: t.Contents, SandboxPath: t.SandboxPath,
				LeftDelim: t.LeftDelimiter, RightDelim: t.RightDelimiter, FunctionDenylist: t.FunctionDenylist,
			}}})
		}
	}
	for _, t := range cfg.Secrets.EnvTemplates {
		if t.Contents != "" {
			parse(t.Pos, envtemplate.Config{EnvTemplates: []envtemplate.EnvTemplate{{
				Name: t.Name, Contents: t.Contents,
				LeftDelim: t.LeftDelimiter, RightDelim: t.RightDelimiter, FunctionDenylist: t.FunctionDenylist,
			}}})
		}
	}
}

// printBad answers check in JSON when there is no configuration to check; ok is
// false when that was not asked for.
func printBad(args []string, err error, stdout io.Writer) (status int, ok bool) {
	var problems *config.Error
	if !errors.As(err, &problems) || !asksForJSON(args) {
		return 0, false
	}
	c := &checkup{}
	c.fail("configuration", statusConfig, err)
	return c.Status, c.print(stdout, "json") == nil
}

// asksForJSON reads the arguments by itself: without a configuration nobody has.
func asksForJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	asked := false
	for i, a := range args {
		value, found := strings.CutPrefix(strings.TrimLeft(a, "-"), "format=")
		if !found && strings.TrimLeft(a, "-") == "format" && a != "format" && i+1 < len(args) {
			value = args[i+1]
		}
		asked = asked || value == "json"
	}
	return asked && slices.Contains(args, string(config.Check))
}

func (c *checkup) print(w io.Writer, format string) error {
	c.OK = c.Status == 0
	if format == "json" {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(c)
	}
	for _, s := range c.Settings {
		if _, err := fmt.Fprintf(w, "%s = %s  # %s\n", s.Key, cmp.Or(s.Value, `""`), s.Origin); err != nil {
			return err
		}
	}
	for _, f := range c.Findings {
		if _, err := fmt.Fprintf(w, "%-7s  %-13s  %s\n", f.Level, f.Area, f.Message); err != nil {
			return err
		}
	}
	return nil
}

// silent is the log of what check builds only to see whether it can be built.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
