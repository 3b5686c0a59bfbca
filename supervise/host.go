package supervise

import (
	"context"
	"os"
	"syscall"
	"time"
)

// host starts processes. The real one is per operating system; tests use a fake.
type host interface {
	// start runs the program and returns once it runs, or a *StartError, or a
	// transientError. It is called on many goroutines.
	start(spec) (process, error)
	// close gives up what the host holds. No process may be running.
	close()
}

// spec is one start.
type spec struct {
	path       string
	argv       []string
	env        []string
	dir        string
	files      []uintptr // become 0, 1, 2, …
	staged     bool      // sockets are among them: LISTEN_PID is needed
	user       *User
	foreground bool // give it the terminal
	deathSig   bool // TERM when we are killed
	stays      bool // leave our own working directory as it is
}

// process is a program that was started. Its id stays its own until reap.
type process interface {
	pid() int
	// wait blocks until the process has ended and returns how, without
	// collecting it. It is called once. stopped is called at each job-control stop.
	wait(stopped func(syscall.Signal)) Status
	// signal sends sig to the process, or to its whole group.
	signal(sig syscall.Signal, group bool) error
	// stop asks the process to end and wakes it if it is stopped.
	stop(sig syscall.Signal, group bool) error
	// kill ends the whole group, and all orphans left to us if orphans.
	kill(orphans bool) error
	// clean asks what the ended process left behind to end, and kills it after
	// grace, or at once if that is 0. It returns when nothing is left, or little after grace.
	clean(ctx context.Context, grace time.Duration, orphans bool)
	// reap collects the ended process and frees its id.
	reap()
}

// terminal hands the controlling terminal back and forth. Nothing it does can
// fail in a way that matters.
type terminal interface {
	owned() bool                           // the program is to be in the foreground
	fork(start func())                     // runs start so that the program gets default TTIN and TTOU
	reclaim()                              // take the terminal back
	suspend(p process, sig syscall.Signal) // the program was stopped: stop as well
	resume(p process)                      // we were continued
}

// transientError marks a start that failed for want of processes, files or memory.
type transientError struct{ error }

func (e transientError) Unwrap() error { return e.error }

func fileDescriptor(f *os.File, def uintptr) uintptr {
	if f == nil {
		return def
	}
	return f.Fd()
}
