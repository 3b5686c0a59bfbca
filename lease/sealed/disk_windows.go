package sealed

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// extend opens a file so that writes go to its end. Opened for appending alone
// Windows would not let it be cut.
func extend(path string) (handle, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return appender{f}, nil
}

type appender struct{ *os.File }

// Truncate cuts the file and goes on writing there.
func (a appender) Truncate(size int64) error {
	if err := a.File.Truncate(size); err != nil {
		return err
	}
	_, err := a.Seek(size, io.SeekStart)
	return err
}

// lock takes path for this process alone, until it ends or unlock is called.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{}); err != nil {
		return nil, errors.Join(ErrInUse, f.Close())
	}
	return f.Close, nil
}

// noRoom reports whether the file system, not what we were told, keeps us from writing.
func noRoom(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
