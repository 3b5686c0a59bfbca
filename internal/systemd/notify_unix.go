//go:build unix

package systemd

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Notifier sends to a manager's socket. It never blocks. The zero Notifier, and
// one for "", sends nothing.
type Notifier struct{ path string }

// NewNotifier returns a Notifier for NOTIFY_SOCKET: a path, or @name for an
// abstract socket.
func NewNotifier(path string) Notifier { return Notifier{path: path} }

// Enabled reports whether anybody listens.
func (n Notifier) Enabled() bool { return n.path != "" }

// Send sends the assignments in one datagram, with descriptors.
func (n Notifier) Send(fds []int, lines ...string) error {
	if n.path == "" || len(lines) == 0 {
		return nil
	}
	if n.path[0] != '/' && n.path[0] != '@' {
		return fmt.Errorf("notify: unsupported socket %q", n.path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	unix.CloseOnExec(fd)
	defer func() { _ = unix.Close(fd) }()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(fd, []byte(strings.Join(lines, "\n")), rights, &unix.SockaddrUnix{Name: n.path}, unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("notify %s: %w", n.path, err)
	}
	return nil
}
