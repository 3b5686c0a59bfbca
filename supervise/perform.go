package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/envexec/envexec/internal/systemd"
	"github.com/envexec/envexec/signals"
)

// perform carries out one action of the machine.
func (s *Supervisor) perform(ctx context.Context, a action) {
	r := s.running[a.child]
	switch a.kind {
	case doPrepare:
		s.latest = nil
		s.prepare(a.generation)
	case doLaunch:
		s.launch(ctx, a)
	case doForward:
		s.send(r, a.sig, s.cfg.SignalGroup)
	case doSignal:
		s.send(r, a.sig, false)
	case doStop:
		if r != nil && r.proc != nil {
			s.ignoreGone(r.proc.stop(a.sig, s.cfg.SignalGroup))
		}
	case doKill:
		if r != nil && r.proc != nil {
			s.ignoreGone(r.proc.kill(s.alone(a.child)))
		}
	case doAbort:
		if r != nil {
			r.cancel()
		}
	case doHook:
		s.hook(a)
	case doReady:
		s.ready(a, r)
	case doApplied:
		s.applied(a)
	case doSettled:
		s.latest = nil
		offer(s.settled, a.generation)
	case doLog:
		s.log.Log(ctx, a.level, a.message, a.args...) //nolint:sloglint // a literal in the machine
	case doFinish:
		s.finished = &a
	}
}

// offer puts id into the one-slot channel, in place of an older one.
func offer(slot chan uint64, id uint64) {
	select {
	case <-slot:
	default:
	}
	slot <- id
}

// alone reports whether no other child's process is alive: orphans are then this one's.
func (s *Supervisor) alone(child uint64) bool {
	for id, r := range s.running {
		if id != child && r.proc != nil {
			return false
		}
	}
	return true
}

func (s *Supervisor) send(r *running, sig syscall.Signal, group bool) {
	if r == nil || r.proc == nil {
		return
	}
	s.log.Debug("signal forwarded", "signal", signals.Name(sig), "pid", r.proc.pid())
	if s.cfg.Trace.Signaled != nil {
		s.cfg.Trace.Signaled(sig)
	}
	s.ignoreGone(r.proc.signal(sig, group))
}

// ignoreGone reports a signal that could not be sent, unless its program has just ended.
func (s *Supervisor) ignoreGone(err error) {
	if err != nil && !isGone(err) {
		s.log.Warn("cannot signal the program", "error", err.Error())
	}
}

func (s *Supervisor) prepare(id uint64) {
	g := s.gens[id]
	s.spawn(func() {
		var err error
		if g.Prepare != nil {
			err = g.Prepare(s.life)
		}
		s.post(news{event: event{kind: evPrepared, generation: id, err: err}})
	})
}

// launch writes files if asked to and starts the program, in a goroutine: a
// slow disk must not delay a signal.
func (s *Supervisor) launch(ctx context.Context, a action) {
	g := s.gens[a.generation]
	r := &running{child: a.child, generation: a.generation}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.running[a.child] = r
	still := s.still()
	s.spawn(func() {
		proc, err := still.start(r, g, a.write)
		if err != nil {
			var transient transientError
			s.post(news{event: event{kind: evSpawnFailed, child: a.child, err: err, transient: errors.As(err, &transient)}})
			return
		}
		s.follow(r, proc)
	})
}

func (s *Supervisor) start(r *running, g Generation, write bool) (process, error) {
	if write && g.Prepare != nil {
		if err := g.Prepare(r.ctx); err != nil {
			switch {
			case r.ctx.Err() != nil:
				return nil, errAborted
			case r.child > 1: // a program ran before: a full disk must not be its end
				return nil, transientError{err}
			}
			return nil, err
		}
	}
	if r.ctx.Err() != nil {
		return nil, errAborted
	}
	child, err := s.equip(r)
	if err != nil {
		return nil, err
	}
	r.env = s.environment(g, r)
	sp := spec{
		path: s.path, argv: s.cfg.Command, env: r.env, dir: s.dir, user: s.cfg.User,
		files: s.descriptors(child), staged: len(s.sockets) > 0,
		foreground: s.cfg.tty.owned(), deathSig: !s.cfg.NoParentDeath,
	}
	var proc process
	memory, err := sp.pass(g.Memory)
	if err = shortage(err); err == nil {
		s.cfg.tty.fork(func() { proc, err = s.cfg.host.start(sp) })
	}
	for _, f := range memory {
		_ = f.Close()
	}
	if child != nil {
		_ = child.Close()
	}
	if err != nil {
		r.release()
	}
	return proc, err
}

// equip opens what child r proves its readiness with, and returns its end of the pipe.
func (s *Supervisor) equip(r *running) (child *os.File, err error) {
	if s.cfg.Ready.Kind == ReadyNotify || s.mgr.Enabled() {
		r.notify, err = systemd.Listen()
		if err != nil {
			return nil, shortage(fmt.Errorf("open the program's notification socket: %w", err))
		}
	}
	if s.cfg.Ready.Kind == ReadyFD {
		r.readyPipe, child, err = os.Pipe()
	}
	if err != nil {
		r.release()
		return nil, shortage(fmt.Errorf("open the program's readiness pipe: %w", err))
	}
	return child, nil
}

// release ends everything that is only about child r but its process.
func (r *running) release() {
	r.cancel()
	if r.notify != nil {
		r.notify.Close()
	}
	if r.readyPipe != nil {
		_ = r.readyPipe.Close()
	}
}

// follow reports the life of a started process: its start, its stops and its end.
func (s *Supervisor) follow(r *running, proc process) {
	s.post(news{event: event{kind: evSpawned, child: r.child}, proc: proc})
	st := proc.wait(func(sig syscall.Signal) { s.post(news{proc: proc, stopped: sig}) })
	s.post(news{event: event{kind: evExit, child: r.child, status: st}})
}

// take books a piece of news before the machine hears of it.
func (s *Supervisor) take(ctx context.Context, n news) {
	r := s.running[n.event.child]
	switch {
	case n.call != nil:
		n.call()
		return
	case n.message != nil:
		if r == nil {
			n.message.CloseFDs()
			return
		}
		s.notified(ctx, r, *n.message)
		return
	case n.stopped != 0:
		s.cfg.tty.suspend(n.proc, n.stopped)
		return
	case r == nil && n.event.child != 0:
		return
	case n.event.kind == evSpawned:
		r.proc, r.pid = n.proc, n.proc.pid()
		s.listenTo(r)
		s.watchReady(r)
		level := slog.LevelInfo
		if r.child == 1 {
			level = slog.LevelDebug // as expected
		}
		s.log.Log(ctx, level, "program started", "pid", r.proc.pid(), "generation", r.generation)
		if s.cfg.Trace.Started != nil {
			s.cfg.Trace.Started(r.proc.pid(), r.generation)
		}
	case n.event.kind == evExit:
		s.exited(ctx, r, n.event.status)
	case n.event.kind == evSpawnFailed:
		r.release()
		delete(s.running, r.child)
	case n.event.kind == evGone:
		r.proc.reap()
		r.release()
		delete(s.running, r.child)
	}
	s.step(ctx, n.event)
}

// listenTo receives what the program says to NOTIFY_SOCKET.
func (s *Supervisor) listenTo(r *running) {
	if r.notify == nil {
		return
	}
	s.spawn(func() {
		for {
			m, err := r.notify.Receive()
			if err != nil {
				return
			}
			s.post(news{event: event{child: r.child}, message: &m})
		}
	})
}

// exited cleans up after an ended program; evGone follows.
func (s *Supervisor) exited(ctx context.Context, r *running, st Status) {
	r.cancel()
	r.ended = true
	s.log.Debug("program ended", "pid", r.proc.pid(), "generation", r.generation, "status", st.String())
	if s.cfg.Trace.Exited != nil {
		s.cfg.Trace.Exited(r.proc.pid(), r.generation, st)
	}
	if s.m.current.id == r.child {
		s.cfg.tty.reclaim()
	}
	orphans, grace := s.alone(r.child), s.cfg.Grace
	if c := s.m.slot(r.child); c != nil && c.timedOut {
		grace = 0 // it had its time
	}
	ctx = context.WithoutCancel(ctx)
	leave := s.cfg.Leftovers
	s.spawn(func() {
		if !leave {
			r.proc.clean(ctx, grace, orphans)
		}
		s.post(news{event: event{kind: evGone, child: r.child}})
	})
}

func (s *Supervisor) ready(a action, r *running) {
	s.tellReady()
	if r != nil && r.proc != nil && s.cfg.Trace.Ready != nil {
		s.cfg.Trace.Ready(r.proc.pid(), a.generation)
	}
}

// applied says how a change went, with the names of what changed.
func (s *Supervisor) applied(a action) {
	if a.policy == Inherit { // a start that no change was the reason of; but it may have taken one along
		if a.generation != s.newest || len(s.changed) == 0 {
			return
		}
		a.policy = Restart
	}
	if s.cfg.Trace.Rotated != nil {
		s.cfg.Trace.Rotated(a.generation, a.policy, a.err)
	}
	if a.err != nil {
		s.changed = union(s.changed, s.latest) // it was in use for a moment
		s.log.Error("secrets changed, but the change could not be applied",
			"policy", a.policy.String(), "generation", a.generation, "changed", s.changed, "error", a.err.Error())
		return
	}
	if a.policy == None {
		s.log.Info("secrets changed, the program keeps those it started with", "generation", a.generation, "changed", s.changed)
	} else {
		s.log.Info("secrets changed and are in use", "policy", a.policy.String(), "generation", a.generation, "changed", s.changed)
	}
	s.latest, s.changed = s.changed, nil
}
