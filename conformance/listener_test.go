//go:build linux

package conformance

import (
	"net"
	"os"
	"testing"
)

// held is a listening socket to be inherited.
type held struct {
	file    *os.File
	address string
}

func listener(t testing.TB) held {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File() //nolint:forcetypeassert // asked for tcp
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	t.Cleanup(func() { _ = file.Close() })
	return held{file, address}
}
