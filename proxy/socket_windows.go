package proxy

import (
	"errors"
	"net"
	"os"
)

const peersKnown = false

// listenUnix opens a unix socket; the directory's rights guard it.
func listenUnix(l *Listener) (net.Listener, func(), error) {
	if l.User != "" || l.Group != "" {
		return nil, nil, errors.New("a socket's owner cannot be set on this system")
	}
	if conn, err := net.Dial("unix", l.Address); err == nil {
		_ = conn.Close()
		return nil, nil, errors.New("another process is listening there")
	}
	_ = os.Remove(l.Address)
	socket, err := net.Listen("unix", l.Address)
	return socket, func() { _ = os.Remove(l.Address) }, err
}

func userIDs([]string) (map[uint32]bool, error) {
	return nil, errors.New("this system does not tell who connects")
}

func peerUser(net.Conn) (uint32, error) {
	return 0, errors.New("this system does not tell who connects")
}
