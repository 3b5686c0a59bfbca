package rawconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

type rawConn struct {
	net.Conn
	control syscall.RawConn
	in, out way
}

func of(conn net.Conn) net.Conn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return conn
	}
	control, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return conn
	}
	r := &rawConn{Conn: conn, control: control}
	r.in.prepare(control.Read, read, false)
	r.out.prepare(control.Write, write, true)
	return r
}

// way is one direction of a connection.
type way struct {
	mu    sync.Mutex // one call at a time, as net.Conn allows more
	wait  func(step func(fd uintptr) (done bool)) error
	step  func(fd uintptr) (done bool)
	left  []byte
	moved int
	err   syscall.Errno
}

// prepare says what waits and what moves bytes; all: until none is left.
func (w *way) prepare(wait func(func(uintptr) bool) error, call func(fd uintptr, b []byte) (int, syscall.Errno), all bool) {
	w.wait = wait
	w.step = func(fd uintptr) bool {
		for {
			n, err := call(fd, w.left)
			switch err {
			case 0:
			case syscall.EINTR:
				continue
			case syscall.EAGAIN:
				return false
			default:
				w.err = err
				return true
			}
			w.left = w.left[n:]
			w.moved += n
			if !all || len(w.left) == 0 {
				return true
			}
		}
	}
}

// move calls step, by way of wait, until it is done with b.
func (w *way) move(b []byte) (int, syscall.Errno, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.moved, w.err = b, 0, 0
	err := w.wait(w.step)
	w.left = nil
	return w.moved, w.err, err
}

func (c *rawConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, errno, err := c.in.move(b)
	if n == 0 && errno == 0 && err == nil {
		return 0, io.EOF
	}
	return n, c.failure("read", errno, err)
}

func (c *rawConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, errno, err := c.out.move(b)
	return n, c.failure("write", errno, err)
}

// failure is the error as package net would spell it.
func (c *rawConn) failure(op string, errno syscall.Errno, err error) error {
	if errno != 0 {
		err = os.NewSyscallError(op, errno)
	}
	if err == nil {
		return nil
	}
	if inner, ok := errors.AsType[*net.OpError](err); ok {
		err = inner.Err
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// SyscallConn gives the descriptor, as the socket itself does.
func (c *rawConn) SyscallConn() (syscall.RawConn, error) { return c.control, nil }

// CloseWrite ends the way out alone.
func (c *rawConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func silent(fd uintptr) bool {
	var b byte
	_, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // the kernel writes there
	return err == syscall.EAGAIN || err == syscall.EINTR
}
