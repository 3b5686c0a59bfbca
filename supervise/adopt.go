package supervise

// still is the Supervisor as it is set now, for what runs beside the loop: Adopt may
// change the settings at any time.
func (s *Supervisor) still() *Supervisor {
	return &Supervisor{
		cfg: s.cfg, path: s.path, dir: s.dir, log: s.log, life: s.life, events: s.events, quit: s.quit,
		sockets: s.sockets, null: s.null, mgr: s.mgr,
	}
}

// Adopt makes next's settings those of s, from the next thing s does on: nothing is
// restarted, a new command is used at the next start. next must be fresh from New and is
// not to be used any more. What belongs to the process stays as it is: standard streams,
// service manager, sockets, signals caught, logger and trace. It may be called from any
// goroutine while Run runs, and returns once the settings are in use or Run has ended.
func (s *Supervisor) Adopt(next *Supervisor) {
	done := make(chan struct{})
	s.post(news{call: func() {
		was, cfg := s.cfg, next.cfg
		cfg.Stdin, cfg.Stdout, cfg.Stderr = was.Stdin, was.Stdout, was.Stderr
		cfg.Manager, cfg.StartExtend, cfg.Sockets, cfg.Signals = was.Manager, was.StartExtend, was.Sockets, was.Signals
		cfg.NoSubreaper, cfg.NoParentDeath, cfg.Logger, cfg.Trace = was.NoSubreaper, was.NoParentDeath, was.Logger, was.Trace
		cfg.clock, cfg.rand, cfg.host, cfg.tty = was.clock, was.rand, was.host, was.tty
		s.cfg, s.path, s.dir = cfg, next.path, next.dir
		close(done)
	}})
	select {
	case <-done:
	case <-s.quit:
	}
}
