//go:build unix

package supervise

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlTerminal is the terminal on descriptor 0, if it is one and we were in
// its foreground when we started: one started in the background never takes it.
type controlTerminal struct {
	mu   sync.Mutex
	tty  bool // descriptor 0 is our controlling terminal
	own  bool // the program is to be in the foreground
	job  bool // somebody above us does job control, so we may stop
	us   int  // our process group
	asks bool // TSTP was sent to us: stop when the program has
}

func newTerminal() terminal {
	t := &controlTerminal{us: unix.Getpgrp()}
	front, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	t.tty = err == nil
	t.own = t.tty && front == t.us
	sid, err := unix.Getsid(0)
	t.job = err == nil && sid != os.Getpid() && os.Getpid() != 1
	if t.own {
		// A log line under "stty tostop" must not stop us while the program has the terminal.
		signal.Ignore(unix.SIGTTOU, unix.SIGTTIN)
	}
	return t
}

func (t *controlTerminal) owned() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.own
}

// fork makes TTOU and TTIN caught instead of ignored meanwhile: an ignored
// signal would be inherited, a caught one is default again in the program.
func (t *controlTerminal) fork(start func()) {
	if !t.owned() { // no lock: a start may take long
		start()
		return
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGTTOU, unix.SIGTTIN)
	start()
	signal.Stop(caught)
	signal.Ignore(unix.SIGTTOU, unix.SIGTTIN)
}

func (t *controlTerminal) give(group int) {
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, group)
}

func (t *controlTerminal) reclaim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own {
		t.give(t.us)
	}
}

// suspend stops us after the program was stopped, so that the shell above gets
// its prompt. Without one the program goes on: there is no way to wake it later.
func (t *controlTerminal) suspend(p process, sig syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.tty && !t.asks {
		return
	}
	t.asks = false
	if !t.job {
		if sig != unix.SIGSTOP {
			_ = unix.Kill(-p.pid(), unix.SIGCONT)
		}
		return
	}
	if t.own {
		t.give(t.us)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
}

// resume gives the terminal to the program if the shell gave it to us, and wakes it.
func (t *controlTerminal) resume(p process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.tty {
		return
	}
	if front, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil && front == t.us {
		if !t.own {
			t.own = true
			signal.Ignore(unix.SIGTTOU, unix.SIGTTIN)
		}
		t.give(p.pid())
	}
	_ = unix.Kill(-p.pid(), unix.SIGCONT)
}

// suspending notes that we were asked to stop.
func (t *controlTerminal) suspending() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asks = true
}

// jobControl handles TSTP sent to us: the program first, then we.
func (s *Supervisor) jobControl(sig syscall.Signal) {
	p := s.current()
	if p == nil {
		return
	}
	if t, ok := s.cfg.tty.(*controlTerminal); ok {
		t.suspending()
	}
	s.ignoreGone(p.signal(sig, true))
}

func stdHandle(n int) uintptr { return uintptr(n) }
