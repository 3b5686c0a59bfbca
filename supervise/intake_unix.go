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

// sameGroup reports whether process pid belongs to the group of the program leader.
func sameGroup(leader, pid int) bool {
	if pid <= 0 {
		return false
	}
	group, err := syscall.Getpgid(pid)
	return pid == leader || err == nil && group == leader
}
