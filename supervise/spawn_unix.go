//go:build unix

package supervise

import (
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// unixHost forks on one locked goroutine: a parent-death signal fires when the
// thread that forked ends, and on Linux the main thread must never fork, or its
// reaper would take the program's status.
type unixHost struct {
	requests chan spawnRequest
	ended    chan struct{}
	moved    sync.Once // our own working directory, after the first start
	inherits map[int]bool
	adopts   bool // orphans come to us
}

type spawnRequest struct {
	spec spec
	done chan spawned
}

type spawned struct {
	pid int
	err error
}

func newHost() host {
	h := &unixHost{requests: make(chan spawnRequest), ended: make(chan struct{})}
	// What we were given at birth is not the program's to leave behind.
	h.inherits, h.adopts = map[int]bool{}, adopting()
	born, _ := orphans()
	for _, pid := range born {
		h.inherits[pid] = true
	}
	go h.spawner()
	return h
}

// spawner is the only place that forks. It ends with the host, when no child is left.
func (h *unixHost) spawner() {
	runtime.LockOSThread()
	defer close(h.ended)
	refuseMainThread()
	for r := range h.requests {
		pid, err := fork(r.spec)
		r.done <- spawned{pid, err}
	}
	// Unlocked, the thread lives on: it may be what a surviving child watches.
	runtime.UnlockOSThread()
}

func (h *unixHost) close() {
	close(h.requests)
	<-h.ended
}

func (h *unixHost) forkOn(s spec) (int, error) {
	r := spawnRequest{spec: s, done: make(chan spawned, 1)}
	h.requests <- r
	got := <-r.done
	return got.pid, got.err
}

func (h *unixHost) start(s spec) (process, error) {
	fork := h.forkOn
	if s.staged {
		fork = h.startStaged
	}
	pid, err := fork(s)
	if err != nil {
		return nil, startErrorAs(s.user, s.argv[0], err)
	}
	// So that no mount stays pinned by a process that needs no directory.
	if s.dir != "" && !s.stays {
		h.moved.Do(func() { _ = os.Chdir("/") })
	}
	return &unixProcess{id: pid, host: h}, nil
}

func fork(s spec) (int, error) {
	attr := &syscall.ProcAttr{Dir: s.dir, Env: s.env, Files: s.files, Sys: sysAttr(s)}
	if s.user != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: s.user.UID, Gid: s.user.GID, Groups: s.user.Groups}
	}
	attr.Sys.Setpgid = true
	if s.foreground {
		attr.Sys.Foreground = true
		attr.Sys.Ctty = 0
	}
	return syscall.ForkExec(s.path, s.argv, attr)
}

// unixProcess is one child. Its id is its own until reap, which the supervisor
// calls, so a signal can never hit a stranger.
type unixProcess struct {
	id   int
	host *unixHost
}

func (p *unixProcess) pid() int { return p.id }

func (p *unixProcess) signal(sig syscall.Signal, group bool) error {
	if group {
		return unix.Kill(-p.id, sig)
	}
	return unix.Kill(p.id, sig)
}

// stop sends CONT after sig to a stopped process: it cannot act on anything else.
func (p *unixProcess) stop(sig syscall.Signal, group bool) error {
	if err := p.signal(sig, group); err != nil || !isStopped(p.id) {
		return err
	}
	return p.signal(unix.SIGCONT, group)
}

func (p *unixProcess) kill(all bool) error {
	err := unix.Kill(-p.id, unix.SIGKILL)
	if err != nil {
		err = unix.Kill(p.id, unix.SIGKILL)
	}
	if all {
		p.host.signalOrphans(unix.SIGKILL)
	}
	return err
}

func (p *unixProcess) reap() {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.id, &ws, 0, nil)
		if err != unix.EINTR { //nolint:errorlint // a bare errno
			return
		}
	}
}

func (h *unixHost) signalOrphans(sig syscall.Signal) (n int) {
	all, _ := orphans()
	for _, pid := range all {
		if !h.inherits[pid] {
			n++
			_ = unix.Kill(pid, sig)
		}
	}
	return n
}
