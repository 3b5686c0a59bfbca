//go:build unix

package sealed

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// extend opens a file so that writes go to its end.
func extend(path string) (handle, error) { return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600) }

// lock takes path for this process alone, until it ends or unlock is called.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(ErrInUse, f.Close())
	}
	return f.Close, nil
}

// noRoom reports whether the file system, not what we were told, keeps us from writing.
func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}
