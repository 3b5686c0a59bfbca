//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"syscall"
)

// Exec becomes the program: same process, nobody left to supervise it. It
// returns only if that failed. Sockets and the notification socket we were
// given stay with the program, as its process id is ours; what we opened is
// closed, and the dispositions of signals are the default ones again. A signal
// that asked us to stop before that is the status it returns; sigs is what has
// caught them, nil = nobody.
func Exec(c Command, sigs *Signals) (Status, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return Status{}, &StartError{Code: 127, Err: errors.New("no program named")}
	}
	path, err := findProgram(c.Args[0], c.Path, workDir(c.Dir))
	if err != nil {
		return Status{}, err
	}
	if c.Dir != "" {
		if err := syscall.Chdir(c.Dir); err != nil {
			return Status{}, &StartError{Program: c.Args[0], Code: 126, Err: fmt.Errorf("change to its directory: %w", err)}
		}
	}
	if c.User != nil {
		if err := become(c.User); err != nil {
			return Status{}, startErrorAs(c.User, c.Args[0], err)
		}
	}
	env, err := inherit(c.Memory, nil, c.Env) // made as the user we now are
	if err != nil {
		return Status{}, err
	}
	if sig := sigs.last(); sig != 0 {
		return Status{Signal: sig}, nil
	}
	err = startErrorAs(c.User, c.Args[0], syscall.Exec(path, c.Args, env))
	var transient transientError
	if errors.As(err, &transient) {
		return Status{}, transient.error
	}
	return Status{}, err
}

// become gives up who we are, on all threads, groups first.
func become(u *User) error {
	groups := make([]int, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setgid(int(u.GID)); err != nil {
		return fmt.Errorf("set group: %w", err)
	}
	if err := syscall.Setuid(int(u.UID)); err != nil {
		return fmt.Errorf("set user: %w", err)
	}
	return nil
}
