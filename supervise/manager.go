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

	refreshing int           // calls of Reload whose refresh runs
	owed       bool          // RELOADING=1 was sent, its READY=1 was not
	inUse      chan struct{} // of those whose refresh is over; nil = none waits
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

// Reload tells the service manager that a reload begins, calls refresh, which returns
// once Run has received every Generation that came of it, and returns refresh's error.
// The manager hears that we are ready again once those are in use, and inUse is closed
// then; the end of ctx or of Run leaves it open. Run must have been called.
func (s *Supervisor) Reload(ctx context.Context, refresh func(context.Context) error) (inUse <-chan struct{}, err error) {
	s.post(news{call: func() {
		s.mgr.refreshing++
		if s.mgr.ready {
			s.mgr.owed = true
			s.tell(nil, "RELOADING=1", stamp())
		}
	}})
	err = refresh(ctx)
	done := make(chan (<-chan struct{}), 1)
	s.post(news{call: func() {
		s.mgr.refreshing--
		if s.mgr.inUse == nil {
			s.mgr.inUse = make(chan struct{})
		}
		done <- s.mgr.inUse
		s.endReloads()
	}})
	select {
	case inUse = <-done:
	case <-s.quit:
	}
	return inUse, err
}

// endReloads says so when all that was reloaded is in use. A change that waits for its
// window or another try is not waited for.
func (s *Supervisor) endReloads() {
	m := &s.m
	if m.state < stopping && (m.state != ready || m.due || !m.quietAt.IsZero() || m.asked.generation != 0 || m.hooking.generation != 0) {
		return
	}
	if s.mgr.inUse != nil {
		close(s.mgr.inUse)
		s.mgr.inUse = nil
	}
	if s.mgr.owed && s.mgr.refreshing == 0 && m.state < stopping {
		s.mgr.owed = false
		s.tell(nil, "READY=1")
	}
}
