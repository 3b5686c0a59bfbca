package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// hook runs the hook command with the new environment; evHooked follows.
func (s *Supervisor) hook(_ context.Context, a action) {
	g := s.gens[a.generation]
	sp := s.spec(g)
	sp.argv, sp.foreground = s.cfg.Hook, false
	sp.env = append(sp.env[:len(sp.env):len(sp.env)], "ENVEXEC_CHANGED="+strings.Join(s.changed, ","))
	s.wg.Go(func() {
		s.post(news{event: event{kind: evHooked, generation: a.generation, err: s.runHook(sp)}})
	})
}

func (s *Supervisor) runHook(sp spec) error {
	path, err := findProgram(sp.argv[0], s.cfg.Path, s.dir)
	if err != nil {
		return err
	}
	sp.path = path
	proc, err := s.cfg.host.start(sp)
	if err != nil {
		return err
	}
	defer proc.reap()
	ended := make(chan Status, 1)
	s.wg.Go(func() { ended <- proc.wait(func(syscall.Signal) {}) })
	timer := time.NewTimer(s.cfg.HookTimeout)
	defer timer.Stop()
	select {
	case st := <-ended:
		if !st.Success() {
			return fmt.Errorf("hook %q ended with %s", sp.argv[0], st)
		}
		return nil
	case <-timer.C:
	case <-s.quit:
	}
	_ = proc.kill(false)
	<-ended
	return errors.New("hook did not end in time")
}
