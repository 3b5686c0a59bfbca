package supervise

import (
	"context"
	"strings"
)

// hook runs the hook command with the new environment; evHooked follows.
func (s *Supervisor) hook(ctx context.Context, a action) {
	g := s.gens[a.generation]
	sp := s.besides(&running{env: s.environment(g, s.running[a.child])}, a.hook)
	sp.env = append(sp.env, "ENVEXEC_CHANGED="+strings.Join(s.changed, ","))
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.HookTimeout)
		defer cancel()
		var err error
		if sp.path, err = findProgram(sp.argv[0], s.cfg.Path, s.dir); err == nil {
			err = runCommand(ctx, s.cfg.host, sp)
		}
		s.post(news{event: event{kind: evHooked, generation: a.generation, err: err}})
	})
}
