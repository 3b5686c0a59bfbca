package supervise

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// HasMemory reports whether Generation.Memory works on this system.
func HasMemory() bool { return true }

// open makes the file: readable from its beginning under any number it is passed as,
// and nobody can change it, us included. closeOnExec is false where we become the
// program ourselves.
func (m Memory) open(u *User, closeOnExec bool) (*os.File, error) {
	flags := unix.MFD_ALLOW_SEALING
	if closeOnExec {
		flags |= unix.MFD_CLOEXEC
	}
	fd, err := unix.MemfdCreate(m.Name, flags)
	if err != nil {
		return nil, fmt.Errorf("make the file in memory for %s: %w", m.Name, err)
	}
	f := os.NewFile(uintptr(fd), m.Name)
	_, err = f.WriteString(m.Data)
	if err == nil && u != nil {
		err = f.Chown(int(u.UID), int(u.GID))
	}
	if err == nil {
		err = f.Chmod(0o400)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("fill the file in memory for %s: %w", m.Name, err)
	}
	return f, nil
}

// path is where a process finds the file it was passed as number fd.
func (m Memory) path(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inherit makes the files for the program we are about to become, and returns env with their paths.
func inherit(memory []Memory, u *User, env []string) ([]string, error) {
	for _, m := range memory {
		f, err := m.open(u, false)
		if err != nil {
			return nil, err
		}
		fd, err := syscall.Dup(int(f.Fd())) // a number that no finalizer closes
		if err != nil {
			return nil, fmt.Errorf("pass the file in memory for %s: %w", m.Name, err)
		}
		_ = f.Close()
		env = m.set(env, fd)
	}
	return env, nil
}
