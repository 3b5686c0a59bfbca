package proxy

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/windows"

	"github.com/envexec/envexec/internal/files"
)

const peersKnown = false

// HasUnixSockets reports whether this system has them: Windows since 10 1803.
func HasUnixSockets() bool {
	s, err := windows.Socket(windows.AF_UNIX, windows.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	_ = windows.Closesocket(s)
	return true
}

// listenUnix opens a unix socket. With a mode that gives others nothing, as the default, only
// we and administrators may use it.
func listenUnix(l *Listener) (net.Listener, func(), error) {
	if l.User != "" || l.Group != "" {
		return nil, nil, errors.New("a socket's owner cannot be set on this system")
	}
	if err := vacant(l.Address); err != nil {
		return nil, nil, err
	}
	_ = os.Remove(l.Address)
	listen := files.ListenPrivate
	if l.Mode&0o007 != 0 {
		listen = func(path string) (net.Listener, error) { return net.Listen("unix", path) }
	}
	socket, err := listen(l.Address)
	if err != nil {
		return nil, nil, err
	}
	return socket, func() { _ = os.Remove(l.Address) }, nil
}

func userIDs([]string) (map[uint32]bool, error) {
	return nil, errors.New("this system does not tell who connects")
}

func peerUser(net.Conn) (uint32, error) {
	return 0, errors.New("this system does not tell who connects")
}

// leftBehind: a failed connection does not say here why.
func leftBehind(error) bool { return true }

// dress changes nothing: there are no modes here.
func dress(string, *Listener) error { return nil }
