package supervise

import (
	"slices"
	"strconv"
	"strings"

	"github.com/envexec/envexec/internal/systemd"
)

// environment is what child r gets: the Generation's variables, without what a
// service manager meant for us, with what we have to tell.
func (s *Supervisor) environment(g Generation, r *running) []string {
	drop := append(systemd.Variables(), "ENVEXEC_GENERATION")
	own := append([]string{"ENVEXEC_GENERATION=" + strconv.FormatUint(r.child, 10)}, s.socketEnv()...)
	if r.notify != nil {
		own = append(own, "NOTIFY_SOCKET="+r.notify.Path())
		if d := s.cfg.Manager.Watchdog; d > 0 {
			// Without WATCHDOG_PID it is meant for whoever reads it.
			own = append(own, "WATCHDOG_USEC="+strconv.FormatInt(d.Microseconds(), 10))
		}
	}
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		drop = append(drop, name)
	}
	env := make([]string, 0, len(g.Env)+len(own))
	for _, v := range g.Env {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains(drop, name) || slices.Contains(s.cfg.KeepEnv, name) && !names(own, name) {
			env = append(env, v)
		}
	}
	return append(env, own...)
}

// names reports whether one of the variables is called name.
func names(vars []string, name string) bool {
	return slices.ContainsFunc(vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

// besides is how a command is run beside child r: same environment, user and
// directory, but none of its sockets and never in the foreground.
func (s *Supervisor) besides(r *running, argv []string) spec {
	g := s.cfg
	env := slices.DeleteFunc(slices.Clone(r.env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(systemd.Variables(), name) || name == "NGINX"
	})
	return spec{
		argv: argv, env: env, dir: s.dir, user: g.User, deathSig: !g.NoParentDeath, stays: true,
		files: []uintptr{s.null.Fd(), fileDescriptor(g.Stdout, stdHandle(1)), fileDescriptor(g.Stderr, stdHandle(2))},
	}
}
