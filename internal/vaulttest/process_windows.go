package vaulttest

import (
	"os/exec"
	"syscall"
	"time"
)

// stop ends the process: Windows has no signal to ask with.
func (c *command) stop(syscall.Signal, time.Duration) {
	_ = c.cmd.Process.Kill()
	<-c.done
}

func unprivileged(string) (func(*exec.Cmd), error) { return func(*exec.Cmd) {}, nil }
