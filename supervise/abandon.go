package supervise

import "time"

// abandon ends the programs without the machine, which has panicked and cannot be
// trusted: the stop signal, and KILL after the stop timeout.
func (s *Supervisor) abandon() {
	alive := 0
	for _, r := range s.running {
		r.cancel()
		if r.proc != nil && !r.ended {
			alive++
			_ = r.proc.stop(s.cfg.StopSignal, true)
		}
	}
	limit := s.cfg.StopTimeout
	if limit <= 0 {
		limit = unkillableAfter
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for killed := false; alive > 0; {
		select {
		case n := <-s.events:
			switch r := s.running[n.event.child]; {
			case n.event.kind == evSpawned: // it was on its way
				alive++
				_ = n.proc.kill(true)
			case n.event.kind == evExit && r != nil:
				alive--
			}
		case <-timer.C:
			if killed {
				return
			}
			killed = true
			timer.Reset(unkillableAfter)
			for _, r := range s.running {
				if r.proc != nil {
					_ = r.proc.kill(true)
				}
			}
		}
	}
	for _, r := range s.running {
		if r.proc != nil {
			_ = r.proc.kill(true) // what it left in its group; its end is not collected yet
		}
	}
}
