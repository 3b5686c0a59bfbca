//go:build darwin || freebsd

package proxy

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

const peersKnown = true

const solLocal = 0 // SOL_LOCAL, which x/sys names on darwin only

// peerUser returns the user of the process at the other end, LOCAL_PEERCRED of unix(4).
func peerUser(conn net.Conn) (uint32, error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Xucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return cred.Uid, nil
}
