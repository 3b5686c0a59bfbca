//go:build unix

package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// CreateTemp makes a new file in dir for SetMode and Replace; pattern is as for
// os.CreateTemp. Until SetMode only we may open it. like is the file it will
// replace if that is to keep its rights, else "".
func CreateTemp(dir, pattern string, _ fs.FileMode, _ string) (*os.File, error) {
	return os.CreateTemp(dir, pattern)
}

// SetMode gives a file of CreateTemp its mode, whatever the umask is.
func SetMode(f *os.File, mode fs.FileMode) error { return f.Chmod(mode) }

// HasMode reports whether the file at path, of which info tells, has that mode.
func HasMode(_ string, info fs.FileInfo, mode fs.FileMode) bool {
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	return info.Mode()&bits == mode
}

// OpenPrivate is os.OpenFile for a file that only we may read and write.
func OpenPrivate(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag, 0o600) }

// OpenLog opens a file that lines are added to, mode 0640, and that may be renamed meanwhile.
func OpenLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640) //nolint:gosec // a log is for its group to read
}

// Replace gives from the name to, in place of what has it: readers see the old or
// the new, whole. See SyncDir.
func Replace(from, to string) error { return os.Rename(from, to) }

// SyncDir makes what Replace did in dir outlive a power cut, where the file system
// can promise that.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
