package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// lockName is the file by which a directory of ours is held.
const lockName = ".envexec-lock"

// lockDir takes a directory of ours for as long as the file is open, which goes with
// us whatever way we end. Whatever else has been put in its place is an error.
func lockDir(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !info.IsDir() { // a link or a junction to one is none
		return nil, fs.ErrInvalid
	}
	file := filepath.Join(path, lockName)
	name, err := windows.UTF16PtrFromString(file)
	if err != nil {
		return nil, err
	}
	const alone = 0 // nobody else may open it
	h, err := windows.CreateFile(name, windows.GENERIC_WRITE|windows.DELETE, alone, nil, windows.OPEN_ALWAYS,
		windows.FILE_ATTRIBUTE_HIDDEN|windows.FILE_FLAG_DELETE_ON_CLOSE, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: file, Err: err}
	}
	return os.NewFile(uintptr(h), file), nil
}

// passOn is for becoming the program, which Windows has not.
func (*drop) passOn() error { return errors.ErrUnsupported }
