package supervise

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childInfo is siginfo_t as the kernel fills it in for a child.
type childInfo struct {
	_, _, code int32 // signo, errno, code
	child      struct {
		_      [0]uintptr // the kernel's union is aligned for a pointer
		_, _   int32      // pid, uid
		status int32
	}
}

// The values of code that end or stop a child.
const (
	cldExited  = 1
	cldStopped = 5
)

// wait learns of the end without collecting it (WNOWAIT), so that the id stays
// taken. It waits by pid: that is exact as nobody else collects our children,
// and works where pidfd is forbidden.
func (p *unixProcess) wait(stopped func(syscall.Signal)) Status {
	for {
		var raw unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.id, &raw, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == unix.EINTR { //nolint:errorlint // a bare errno
			continue
		}
		if err != nil {
			// Somebody stole the status: a bug elsewhere in this process.
			return Status{Code: 125}
		}
		info := (*childInfo)(unsafe.Pointer(&raw)) //nolint:gosec // same memory, the kernel's layout
		switch info.code {
		case cldExited:
			return Status{Code: int(info.child.status)}
		case cldStopped:
			sig := syscall.Signal(info.child.status)
			_ = unix.Waitid(unix.P_PID, p.id, &raw, unix.WSTOPPED|unix.WNOHANG, nil)
			stopped(sig)
		default:
			return Status{Signal: syscall.Signal(info.child.status)}
		}
	}
}
