//go:build unix

package main

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// mayWrite says why our user may not write to a file, or put files into a directory.
func mayWrite(path string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
