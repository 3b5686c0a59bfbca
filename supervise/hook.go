package supervise

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// hook runs the hooks, one after the other, with the new environment; evHooked follows.
func (s *Supervisor) hook(a action) {
	r := s.running[a.child]
	env := append(s.environment(s.gens[a.generation], r), "ENVEXEC_PID="+strconv.Itoa(r.pid), "ENVEXEC_CHANGED="+strings.Join(s.changed, ","))
	still := s.still()
	s.spawn(func() {
		var errs []error
		for _, argv := range a.hooks {
			errs = append(errs, still.runHook(still.besides(&running{env: env}, argv)))
		}
		s.post(news{event: event{kind: evHooked, generation: a.generation, err: errors.Join(errs...)}})
	})
}

func (s *Supervisor) runHook(sp spec) (err error) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.HookTimeout)
	defer cancel()
	if sp.path, err = findProgram(sp.argv[0], s.cfg.Path, s.dir); err != nil {
		return err
	}
	return runCommand(ctx, s.cfg.host, sp)
}
