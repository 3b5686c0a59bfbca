//go:build unix

package proxy

import (
	"crypto/tls"
	"net"
	"syscall"

	"github.com/envexec/envexec/internal/rawconn"
)

const linesKnown = true

// newProbe returns what tells whether an idle connection still lives: its other end
// neither closed it nor said anything. Not for use at the same time.
func newProbe(conn net.Conn) func() bool {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	dead := func() bool { return false }
	c, ok := conn.(syscall.Conn)
	if !ok {
		return dead
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return dead
	}
	lives := false
	look := func(fd uintptr) bool {
		lives = rawconn.Silent(fd)
		return true
	}
	return func() bool {
		lives = false
		return raw.Read(look) == nil && lives
	}
}
