//go:build unix

package method

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// inherited fails for a descriptor nobody handed to us: our own are closed on exec.
func inherited(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return fmt.Errorf("descriptor %d was not handed to envexec", fd)
	}
	return nil
}
