//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// workDir returns the program's working directory; "" if ours cannot be told,
// and then nobody changes it.
func workDir(dir string) string {
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return ""
		}
		return wd
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// findProgram finds a program as a shell does, but from the directory it will
// run in. The result is absolute where that is possible.
func findProgram(name, path, dir string) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(name) && dir != "" {
			full = filepath.Join(dir, name)
		}
		if err := runnable(full); err != nil {
			return "", startError(name, err)
		}
		return full, nil
	}
	var found error = syscall.ENOENT
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		full := filepath.Join(d, name)
		err := runnable(full)
		if err == nil {
			return full, nil
		}
		// Not found is only said if nothing better can be.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			found = err
		}
	}
	if errors.Is(found, syscall.ENOENT) {
		return "", &StartError{Program: name, Code: 127, Err: errors.New("not found in the search path")}
	}
	return "", startError(name, found)
}

func runnable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			return pe.Err
		}
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	// The program may run as another user; the kernel then has the last word.
	if info.Mode()&0o111 == 0 {
		return syscall.EACCES
	}
	return nil
}

// shortage marks err as transient if it is for want of processes, files or memory.
func shortage(err error) error {
	for _, want := range []error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, want) {
			return transientError{err}
		}
	}
	return err
}

// startErrorAs is startError of a program that was to run as u.
func startErrorAs(u *User, program string, err error) error {
	if u != nil && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
		err = fmt.Errorf("%w: in a user namespace the user and its groups must be mapped", err)
	}
	err = startError(program, err)
	var start *StartError
	if errors.As(err, &start) {
		start.User = u
	}
	return err
}

// startError says for an errno of exec what a shell would.
func startError(program string, err error) error {
	code := 126
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return &StartError{Program: program, Code: code, Err: err}
	}
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		code = 127
	case unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return shortage(&StartError{Program: program, Code: code, Err: errno})
	case unix.E2BIG:
		err = errors.New("environment and arguments are too big for the system")
	case unix.ENOEXEC:
		err = errors.New("not a program this system can run")
	}
	return &StartError{Program: program, Code: code, Err: err}
}
