package files

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// Replace gives from the name to, in place of what has it: readers see the old or
// the new, whole. It is on disk when Replace returns. While a reader holds the old file
// open Windows does it only for a reader that lets others delete it, as one of Go or Java
// does; for another, a virus scanner for one, it is tried again for a while.
func Replace(from, to string) error { return replace(from, to, moveFile, takeName, time.Sleep) }

// SyncDir has nothing left to do.
func SyncDir(string) error { return nil }

func moveFile(from, to *uint16) error {
	return windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
}

// takeName renames as POSIX has it: whoever has the old file open keeps it. It is for
// files of one directory, and does not wait for the disk.
func takeName(from, to string) error {
	dir, err := os.OpenRoot(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Rename(filepath.Base(from), filepath.Base(to))
}

func replace(from, to string, move func(from, to *uint16) error, take func(from, to string) error, sleep func(time.Duration)) error {
	old, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	const patience = 2 * time.Second
	waited := time.Duration(0)
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		err = move(old, name)
		if held(err) && filepath.Dir(from) == filepath.Dir(to) && take(from, to) == nil {
			return nil
		}
		if err == nil || !held(err) || waited >= patience {
			break
		}
		sleep(pause)
		waited += pause
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// held: someone has the file open.
func held(err error) bool {
	var n syscall.Errno
	return errors.As(err, &n) && (n == windows.ERROR_ACCESS_DENIED || n == windows.ERROR_SHARING_VIOLATION || n == windows.ERROR_LOCK_VIOLATION)
}
