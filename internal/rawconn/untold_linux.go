//go:build !race

package rawconn

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read is read(2) past the scheduler.
func read(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, err := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // the kernel writes there
	return int(n), err
}

// write is write(2) past the scheduler.
func write(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, err := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // the kernel reads there
	return int(n), err
}
