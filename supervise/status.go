package supervise

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/envexec/envexec/signals"
)

// Status is how the program ended. The zero Status is success.
type Status struct {
	Code   int            // exit code, 0 to 255; on Windows any 32-bit value
	Signal syscall.Signal // the signal it died of; 0 if it exited
}

// Success reports an exit with code 0.
func (s Status) Success() bool { return s == Status{} }

// Shell returns the status as a shell shows it: the code, or 128+n for signal n.
func (s Status) Shell() int {
	if s.Signal != 0 {
		return 128 + int(s.Signal)
	}
	return s.Code
}

// String returns "exit 3" or "signal TERM".
func (s Status) String() string {
	if s.Signal != 0 {
		return "signal " + signals.Name(s.Signal)
	}
	return fmt.Sprintf("exit %d", s.Code)
}

// StartError says that the program could not be started. Code is what a shell
// would exit with: 127 not found (or its interpreter), 126 found but not runnable.
type StartError struct {
	Program string
	User    *User // it was to run as; nil = as we do
	Code    int
	Err     error
}

// Error names the program, its user and the cause, never an argument or a variable.
func (e *StartError) Error() string {
	if e.User != nil {
		return fmt.Sprintf("start %q as %s: %v", e.Program, e.User, e.Err)
	}
	return fmt.Sprintf("start %q: %v", e.Program, e.Err)
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

var (
	// ErrNotReady ends Run when the program never became ready and nothing is left to try.
	ErrNotReady = errors.New("program did not become ready in time")
	// ErrUnkillable ends Run when a program outlived KILL (uninterruptible sleep).
	ErrUnkillable = errors.New("program does not end, even by KILL")
	errAborted    = errors.New("start given up")
	// ErrNoGeneration ends Run when the channel of Generations closes before the first one.
	ErrNoGeneration = errors.New("no secrets to start the program with")
)
