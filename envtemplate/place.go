package envtemplate

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"syscall"
)

// FileError says that a file could not be put in place; nothing else was replaced either.
type FileError struct {
	Path string
	Err  error
}

// Error names the destination and the reason.
func (e *FileError) Error() string { return fmt.Sprintf("write file %s: %v", e.Path, e.Err) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// Misplaced reports whether the destination or its owner is wrong, which only another
// configuration or other rights mend; a full disk, say, is not.
func (e *FileError) Misplaced() bool {
	for _, wrong := range []error{
		errDirectory, errOutside, fs.ErrPermission, fs.ErrNotExist, fs.ErrExist,
		syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG,
	} {
		if errors.Is(e.Err, wrong) {
			return true
		}
	}
	var noUser user.UnknownUserError
	var noGroup user.UnknownGroupError
	return errors.As(e.Err, &noUser) || errors.As(e.Err, &noGroup)
}

var (
	errDirectory = errors.New("there is a directory, and a file cannot take its place")
	errOutside   = errors.New("not below the sandbox path")
)
