package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Command is a program that is run once to its end, beside the supervised one.
type Command struct {
	Args   []string // required
	Env    []string // its whole environment
	Path   string   // search path for a name without a slash
	Dir    string   // "" = the present one
	User   *User    // nil = as we are
	Stdout *os.File // nil = our own
	Stderr *os.File // nil = our own
	Memory []Memory // Exec only: files in memory
}

// RunCommand runs c in a group of its own, without standard input, and waits
// for it. The group is killed when ctx ends. A program that cannot be started
// is a *StartError, any other end than success a *CommandError.
func RunCommand(ctx context.Context, c Command) error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return &StartError{Code: 127, Err: errors.New("no program named")}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer func() { _ = null.Close() }()
	sp := spec{argv: c.Args, env: c.Env, dir: workDir(c.Dir), user: c.User, deathSig: true, stays: true}
	if sp.path, err = findProgram(c.Args[0], c.Path, sp.dir); err != nil {
		return err
	}
	sp.files = []uintptr{null.Fd(), fileDescriptor(c.Stdout, stdHandle(1)), fileDescriptor(c.Stderr, stdHandle(2))}
	h := newHost()
	defer h.close()
	return runCommand(ctx, h, sp)
}

// runCommand runs sp to its end, or kills it when ctx ends.
func runCommand(ctx context.Context, h host, sp spec) error {
	proc, err := h.start(sp)
	if err != nil {
		return err
	}
	defer proc.reap()
	ended := make(chan Status, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ended <- proc.wait(func(syscall.Signal) {}) })
	select {
	case st := <-ended:
		if !st.Success() {
			return &CommandError{Program: sp.argv[0], Status: st}
		}
		return nil
	case <-ctx.Done():
		_ = proc.kill(false)
		<-ended
		return fmt.Errorf("command %q was killed: %w", sp.argv[0], context.Cause(ctx))
	}
}

// CommandError says that a Command did not succeed.
type CommandError struct {
	Program string
	Status  Status
}

// Error implements error.
func (e *CommandError) Error() string {
	return fmt.Sprintf("command %q ended with %s", e.Program, e.Status)
}
