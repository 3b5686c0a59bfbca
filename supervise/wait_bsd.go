//go:build unix && !linux

package supervise

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// wait collects the child at once: there is no portable waitid here. Between
// this and clean the group's id could in theory be taken by a stranger; ids go
// round slowly there.
func (p *unixProcess) wait(stopped func(syscall.Signal)) Status {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(p.id, &ws, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR: //nolint:errorlint // a bare errno
		case err != nil:
			return Status{Code: 125}
		case ws.Stopped():
			stopped(ws.StopSignal())
		case ws.Signaled():
			return Status{Signal: ws.Signal()}
		case ws.Exited():
			return Status{Code: ws.ExitStatus()}
		}
	}
}
