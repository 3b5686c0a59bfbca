//go:build unix && !linux

package rawconn

import (
	"errors"

	"golang.org/x/sys/unix"
)

func silent(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}
