package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/vaulttest"
)

// completions are what a person types and what the shell makes of it.
var completions = []struct{ typed, becomes string }{
	{"envexec --stop-ti", "--stop-timeout"},
	{"envexec rel", "reload"},
	{"envexec check --offl", "--offline"},
	{"envexec --auth kub", "kubernetes"},
	{"envexec --log-level=tra", "--log-level=trace"},
	{"envexec --config ./agent-f", "./agent-file.hcl"},
	{"envexec -- only-pro", "only-program"},
	{"envexec -- only-program ./agent-f", "./agent-file.hcl"},
}

// Real shells, in which somebody presses the tab key, complete with the scripts we print.
func TestShellsComplete(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "agent-file.hcl", "")
	place(t, dir, "only-program", "#!/bin/sh\n")
	for name, start := range map[string]struct{ args, load string }{
		"bash": {"--norc --noprofile -i", "source <(envexec --completion bash)"},
		"zsh":  {"-f -i", "autoload -U compinit; compinit -u -D; source <(envexec --completion zsh)"},
	} {
		t.Run(name, func(t *testing.T) {
			shell := shellNamed(t, name)
			s := converse(t, dir, shell, strings.Fields(start.args)...)
			s.send(start.load + "; echo loa''ded\n")
			s.await("loaded")
			for _, c := range completions {
				s.send(c.typed + "\t")
				s.await(c.becomes)
				s.send("\x15 echo nex''t\n") // ^U: the line is dropped
				s.await("next")
			}
			s.send("exit\n")
		})
	}
	t.Run("fish", func(t *testing.T) {
		fish := shellNamed(t, "fish")
		for _, c := range completions {
			cmd := exec.CommandContext(t.Context(), fish, "--no-config", "-c", `envexec --completion fish | source; complete -C "$argv[1]"`, c.typed)
			cmd.Dir, cmd.Env = dir, shellEnv(dir)
			out, err := cmd.CombinedOutput()
			if first, _, _ := strings.Cut(string(out), "\t"); err != nil || strings.TrimSpace(first) != c.becomes {
				t.Errorf("%q: %v %q", c.typed, err, out)
			}
		}
		cmd := exec.CommandContext(t.Context(), fish, "--no-config", "-c", `envexec --completion fish | source; complete -C "envexec -- only-program --stop-ti"; complete -C "envexec --from "`)
		cmd.Dir, cmd.Env = dir, shellEnv(dir)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("what is the program's, or no file, is completed: %v %q", err, out)
		}
	})
}

func shellNamed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartShells, "apt-get install bash zsh fish")
	}
	return path
}

func shellEnv(dir string) []string {
	return []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "GORACE=atexit_sleep_ms=0"}
}

// conversation is with a program on a terminal.
type conversation struct {
	t      *testing.T
	master *os.File

	mu   sync.Mutex
	text string
	more chan struct{}
}

func converse(t *testing.T, dir, program string, args ...string) *conversation {
	t.Helper()
	master, slave := terminal(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 250}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append(shellEnv(dir), "PS1=$ ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	c := &conversation{t: t, master: master, more: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			c.mu.Lock()
			c.text += string(buf[:n])
			c.mu.Unlock()
			select {
			case c.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); <-ended })
	return c
}

func (c *conversation) send(text string) {
	c.t.Helper()
	if _, err := c.master.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// await waits until the program has written text, and takes all up to there as read.
func (c *conversation) await(text string) {
	c.t.Helper()
	late := time.After(patience)
	for {
		c.mu.Lock()
		_, rest, found := strings.Cut(c.text, text)
		if found {
			c.text = rest
		}
		seen := c.text
		c.mu.Unlock()
		if found {
			return
		}
		select {
		case <-c.more:
		case <-late:
			c.t.Fatalf("%q never came; there is %q", text, seen)
		}
	}
}
