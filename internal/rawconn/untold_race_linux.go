//go:build race

package rawconn

import (
	"errors"
	"syscall"
)

// The race detector learns from package syscall alone that what one goroutine wrote before
// it used a socket is there for another that used it later.

func read(fd uintptr, b []byte) (int, syscall.Errno) { return told(syscall.Read(int(fd), b)) }

func write(fd uintptr, b []byte) (int, syscall.Errno) { return told(syscall.Write(int(fd), b)) }

func told(n int, err error) (int, syscall.Errno) {
	number, _ := errors.AsType[syscall.Errno](err)
	return n, number
}
