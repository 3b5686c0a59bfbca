//go:build unix

package supervise

import (
	"errors"
	"syscall"
)

func jobControlSignals() []syscall.Signal { return []syscall.Signal{syscall.SIGTSTP} }

func isJobControl(sig syscall.Signal) bool { return sig == syscall.SIGTSTP }

func isContinue(sig syscall.Signal) bool { return sig == syscall.SIGCONT }

const killSignal = syscall.SIGKILL

func isGone(err error) bool { return errors.Is(err, syscall.ESRCH) }
