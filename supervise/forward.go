package supervise

import (
	"context"
	"syscall"

	"github.com/envexec/envexec/internal/fault"
	"github.com/envexec/envexec/signals"
)

func (s *Supervisor) stopForContext(ctx context.Context) {
	if s.m.state == waiting {
		s.finished = &action{err: context.Cause(ctx)}
		return
	}
	s.step(context.WithoutCancel(ctx), event{kind: evStop})
}

// signal takes one signal from outside.
func (s *Supervisor) signal(ctx context.Context, got syscall.Signal) {
	fault.Point("supervisor")
	if isJobControl(got) {
		s.jobControl(got)
		return
	}
	if own := s.cfg.Taken[got]; own != nil {
		own()
		return
	}
	sig, ok := s.cfg.SignalMap.Rewrite(got)
	if !ok {
		s.log.Debug("signal dropped as asked", "signal", signals.Name(got))
		return
	}
	if s.m.state == waiting {
		if signals.AsksToStop(got) || got == syscall.SIGHUP {
			s.finished = &action{status: Status{Signal: got}}
		}
		return
	}
	if signals.AsksToStop(got) {
		s.log.Debug("asked to stop", "signal", signals.Name(got))
		s.step(ctx, event{kind: evStop, sig: sig})
		return
	}
	if isContinue(got) && s.current() != nil {
		s.cfg.tty.resume(s.current())
	}
	s.step(ctx, event{kind: evSignal, sig: sig})
}

// current returns the current program's process; nil if there is none.
func (s *Supervisor) current() process {
	if r := s.running[s.m.current.id]; r != nil && r.proc != nil && !s.m.current.dead {
		return r.proc
	}
	return nil
}
