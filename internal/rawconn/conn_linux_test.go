package rawconn

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// sockets returns the two ends of a connection, the first as we use it.
func sockets(t *testing.T, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var all sync.WaitGroup
	all.Go(func() { theirs, _ = l.Accept() })
	dialled, err := net.Dial(network, l.Addr().String())
	all.Wait()
	if err != nil || theirs == nil {
		t.Fatalf("connect: %v", err)
	}
	return Of(dialled), theirs
}

func TestARawConnectionIsAConnection(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b := sockets(t, network, address)
				if _, is := a.(*rawConn); !is {
					return nil, nil, nil, errors.New("it is not raw")
				}
				b = Of(b)
				return a, b, func() { _ = a.Close(); _ = b.Close() }, nil
			})
		})
	}
}

func TestErrorsAreSpelledAsBefore(t *testing.T) {
	a, b := sockets(t, "tcp", "127.0.0.1:0")
	_ = a.SetReadDeadline(time.Unix(1, 0))
	_, late := a.Read(make([]byte, 1))
	_ = a.SetReadDeadline(time.Time{})
	_ = b.(*net.TCPConn).SetLinger(0)
	_ = b.Close()
	_, reset := a.Read(make([]byte, 1))
	_ = a.Close()
	_, closed := a.Write([]byte("x"))
	for _, c := range []struct {
		err, is error
		op      string
		timeout bool
	}{{late, os.ErrDeadlineExceeded, "read", true}, {reset, syscall.ECONNRESET, "read", false}, {closed, net.ErrClosed, "write", false}} {
		op, ok := errors.AsType[*net.OpError](c.err)
		if !ok || op.Op != c.op || op.Addr == nil || !errors.Is(c.err, c.is) || op.Timeout() != c.timeout {
			t.Errorf("%v: want a %s that is %v", c.err, c.op, c.is)
		}
	}
}

func TestHalfAConnectionIsClosed(t *testing.T) {
	a, b := sockets(t, "tcp", "127.0.0.1:0")
	defer b.Close()
	defer a.Close()
	if err := a.(*rawConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the other end read %d, %v, want the end", n, err)
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("read %d, %v of what came after that", n, err)
	}
}

func TestAnIdleConnectionIsSilent(t *testing.T) {
	a, b := sockets(t, "tcp", "127.0.0.1:0")
	defer a.Close()
	if !quiet(t, a) {
		t.Error("a connection on which nothing happened is not silent")
	}
	if _, err := b.Write([]byte("xy")); err != nil {
		t.Fatal(err)
	}
	_, _ = a.Read(make([]byte, 1)) // until it is here
	if quiet(t, a) {
		t.Error("a connection on which something came is silent")
	}
	_, _ = a.Read(make([]byte, 1))
	_ = b.Close()
	_, _ = a.Read(make([]byte, 1)) // until the end is here
	if quiet(t, a) {
		t.Error("a closed connection is silent")
	}
}

func quiet(t *testing.T, conn net.Conn) (is bool) {
	t.Helper()
	control, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := control.Control(func(fd uintptr) { is = Silent(fd) }); err != nil {
		t.Fatal(err)
	}
	return is
}

func TestOthersStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	defer a.Close()
	if Of(a) != a {
		t.Error("what is no socket was changed")
	}
}
