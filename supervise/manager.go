package supervise

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/envexec/envexec/internal/systemd"
)

// manager is our side towards the service manager that started us. The main
// process of the service is always we: programs come and go.
type manager struct {
	systemd.Notifier
	began     time.Time
	extended  time.Time // when more time was asked for last
	ready     bool      // READY=1 was sent
	stopping  bool      // STOPPING=1 was sent
	pinger    uint64    // the child that sends WATCHDOG=1 itself
	reloading bool      // the program said RELOADING=1
	reloads   []*reload
}

// reload is one call of Reload.
type reload struct {
	refreshed bool // its secrets have arrived
	done      chan struct{}
	quiet     chan time.Duration // one slot: Config.Quiet as it was then
}

// How often a slow start is excused, and for how long each time.
const (
	extendEvery = 5 * time.Second
	extendBy    = 15 * time.Second
)

func (s *Supervisor) tell(fds []int, lines ...string) {
	if err := s.mgr.Send(fds, lines...); err != nil {
		s.log.Debug("cannot tell the service manager", "error", err.Error())
	}
}

// greet hands our sockets to the manager's store, so that they survive us.
func (s *Supervisor) greet() {
	s.mgr = manager{Notifier: systemd.NewNotifier(s.cfg.Manager.NotifySocket), began: s.cfg.clock()}
	for _, h := range s.sockets {
		if h.ours {
			s.tell([]int{h.fd}, "FDSTORE=1", "FDNAME="+h.name)
		}
	}
	s.tellState()
}

// tellState follows a change of state.
func (s *Supervisor) tellState() {
	if !s.mgr.Enabled() {
		return
	}
	status := "STATUS=" + s.m.state.String()
	if g := s.m.current.generation; g != 0 {
		status += ", generation " + strconv.FormatUint(g, 10)
	}
	if s.m.state >= stopping && !s.mgr.stopping {
		s.mgr.stopping = true
		s.tell(nil, "STOPPING=1", status)
		return
	}
	s.tell(nil, status)
}

// tellReady follows a program that became ready.
func (s *Supervisor) tellReady() {
	if !s.mgr.ready {
		s.mgr.ready = true
		s.tell(nil, "READY=1")
	}
}

// beat is the rhythm of the watchdog and of asking for more time; 0 = none.
func (s *Supervisor) beat() time.Duration {
	if !s.mgr.Enabled() {
		return 0
	}
	if d := s.cfg.Manager.Watchdog / 2; d > 0 && d < extendEvery {
		return d
	}
	return extendEvery
}

// onBeat runs on the supervisor's loop: if that hangs, so do the pings.
func (s *Supervisor) onBeat() {
	if s.cfg.Manager.Watchdog > 0 && (s.mgr.pinger == 0 || s.mgr.pinger != s.m.current.id) {
		s.tell(nil, "WATCHDOG=1")
	}
	now := s.cfg.clock()
	if !s.mgr.ready && s.m.state < stopping && now.Sub(s.mgr.began) < s.cfg.StartExtend && now.Sub(s.mgr.extended) >= extendEvery {
		s.mgr.extended = now
		s.tell(nil, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
	}
}

// notified handles a message of child r's program.
func (s *Supervisor) notified(ctx context.Context, r *running, m systemd.Message) {
	// Closing a barrier's descriptor says that all before it has been handled.
	defer m.CloseFDs()
	if m.Is("BARRIER") || r.proc == nil || !sameGroup(r.proc.pid(), m.PID) {
		return
	}
	current := r.child == s.m.current.id && !s.m.current.leaving
	if m.Is("READY") {
		if current && s.mgr.reloading {
			s.mgr.reloading = false
			s.tell(nil, "READY=1")
		}
		if s.cfg.Ready.Kind == ReadyNotify {
			s.step(ctx, event{kind: evReady, child: r.child})
		}
	}
	if !current {
		return
	}
	if m.Is("RELOADING") && s.mgr.ready {
		s.mgr.reloading = true
		s.tell(nil, "RELOADING=1", stamp())
	}
	if _, ok := m.Get("WATCHDOG"); ok {
		s.mgr.pinger = r.child
	}
	if lines := m.Forward("program: "); len(lines) > 0 {
		fds := m.FDs
		if !m.Is("FDSTORE") {
			fds = nil
		}
		s.tell(fds, lines...)
	}
}

// stamp is what notify-reload needs in one datagram with RELOADING=1: without
// it a reload ends too early or never.
func stamp() string { return fmt.Sprintf("MONOTONIC_USEC=%d", systemd.Monotonic()) }

// Reload tells the service manager that a reload begins, calls refresh, which
// returns once all secrets have been read again and handed over, waits until what
// came of it is in use, and tells the manager. It blocks; the error is refresh's.
func (s *Supervisor) Reload(ctx context.Context, refresh func(context.Context) error) error {
	r := &reload{done: make(chan struct{}), quiet: make(chan time.Duration, 1)}
	s.post(news{call: func() {
		r.quiet <- s.cfg.Quiet
		s.mgr.reloads = append(s.mgr.reloads, r)
		if s.mgr.ready {
			s.tell(nil, "RELOADING=1", stamp())
		}
	}})
	err := refresh(ctx)
	if err == nil {
		// What was handed over is on its way here.
		select {
		case quiet := <-r.quiet:
			pause(ctx, min(quiet, reloadPause)+reloadPause/10)
		case <-s.quit:
		}
	}
	s.post(news{call: func() { r.refreshed = true; s.endReloads() }})
	select {
	case <-r.done:
	case <-ctx.Done():
	case <-s.quit:
	}
	return err
}

// reloadPause bounds how long a Reload waits for a Generation to arrive.
const reloadPause = time.Second

// endReloads tells the manager when all reloads are in use. A change that waits
// for its window or another try is not waited for.
func (s *Supervisor) endReloads() {
	if len(s.mgr.reloads) == 0 {
		return
	}
	m := &s.m
	if m.state < stopping && (m.state != ready || m.due || !m.quietAt.IsZero() || m.asked.generation != 0 || m.hooking.generation != 0) {
		return
	}
	kept := s.mgr.reloads[:0]
	for _, r := range s.mgr.reloads {
		if !r.refreshed {
			kept = append(kept, r)
			continue
		}
		close(r.done)
	}
	s.mgr.reloads = kept
	if len(kept) == 0 && s.mgr.ready && m.state < stopping {
		s.tell(nil, "READY=1")
	}
}
