package vaulttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Binary returns the Vault executable: $VAULT_BIN, else bin/vault of this
// repository, else vault on PATH.
func Binary() (string, error) {
	if path := os.Getenv("VAULT_BIN"); path != "" {
		return exec.LookPath(path)
	}
	if root, err := Root(); err == nil {
		if path, err := exec.LookPath(filepath.Join(root, "bin", "vault")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("vault")
	if err != nil {
		return "", fmt.Errorf("find vault: set VAULT_BIN or run make vault: %w", err)
	}
	return path, nil
}

// Root returns the repository's directory, looking upwards from the working
// directory: the first one with both go.mod and Makefile.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		if exists(filepath.Join(dir, "go.mod")) && exists(filepath.Join(dir, "Makefile")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("find repository: no go.mod with a Makefile above the working directory")
		}
		dir = up
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// command is a process that ends with the test, however the test ends.
type command struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone and waited for
	err  error         // why it ended; read after done
}

// start runs cmd. One goroutine, locked to its thread, starts it and waits for
// it: on Linux the kernel's parent-death signal belongs to the thread.
func start(cmd *exec.Cmd) (*command, error) {
	dieWithParent(cmd)
	c := &command{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return c, nil
}

// gone reports whether the process has ended.
func (c *command) gone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
