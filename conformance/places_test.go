//go:build linux

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// parent is what stands between the harness and the program: envexec, or a peer it is compared with.
type parent struct {
	name string
	argv func(flags, args []string) []string
}

var (
	envexec = parent{"envexec", func(flags, args []string) []string {
		return append(append([]string{binary}, flags...), append([]string{"--"}, args...)...)
	}}
	none = parent{"none", func(_, args []string) []string { return args }}
	raw  = parent{"raw", func(flags, args []string) []string { // envexec's command line as the test writes it
		return append(append([]string{binary}, flags...), args...)
	}}
)

// place is where a command runs.
type place interface {
	name() string
	// available says why the place cannot be had here.
	available() error
	// command wraps argv for the place; env is complete.
	command(t testing.TB, argv, env []string) *exec.Cmd
	// wrapper finds W's pid as seen from the harness.
	wrapper(p *process) int
}

// inPlaces runs a case once in each of the named places; one that this build does not know is left out.
func inPlaces(t *testing.T, names string, run func(t *testing.T, at place)) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		at, known := places[name]
		if !known {
			continue // needs -tags integration
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require(t, name, at.available())
			run(t, at)
		})
	}
}

// places are known by name; the files with the build tag integration add theirs.
var places = map[string]place{"plain": plain{}, "pidns": pidns{}}

// plain is a process like any other; envexec is then a subreaper.
type plain struct{}

func (plain) name() string     { return "plain" }
func (plain) available() error { return nil }

func (plain) command(_ testing.TB, argv, env []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // tests run programs
	cmd.Env = env
	return cmd
}

func (plain) wrapper(p *process) int { return p.cmd.Process.Pid }

// pidns makes W process 1 of a pid namespace.
type pidns struct{}

func (pidns) name() string { return "pidns" }

func unshareArgs() []string {
	args := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	return append(args, "--")
}

var pidnsProblem = sync.OnceValue(func() error {
	args := append(unshareArgs(), "true")
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil { //nolint:gosec // fixed words
		return fmt.Errorf("unshare: %w: %s", err, out)
	}
	return nil
})

func (pidns) available() error { return pidnsProblem() }

func (pidns) command(t testing.TB, argv, env []string) *exec.Cmd {
	return plain{}.command(t, append(unshareArgs(), argv...), env)
}

func (pidns) wrapper(p *process) (pid int) {
	p.t.Helper()
	unshare := p.cmd.Process.Pid
	eventually(p.t, "process 1 of the namespace has become W", func() bool {
		if !p.running() {
			p.t.Fatalf("ended before W was there: %s", p.err.text())
		}
		for _, child := range childrenOf(unshare) {
			if comm(child) != "unshare" {
				pid = child
				return true
			}
		}
		return false
	})
	return pid
}

// What the kernel says about processes.

func allPids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat returns the fields of /proc/PID/stat from the state on: state, ppid, pgrp, session, tty, tpgid.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// stateOf returns R, S, T, Z ... or "" for a process that is gone.
func stateOf(pid int) string {
	if fields := stat(pid); fields != nil {
		return fields[0]
	}
	return ""
}

func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

func childrenOf(parent int) []int {
	var children []int
	for _, pid := range allPids() {
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// zombiesOf counts the zombies below a process.
func zombiesOf(parent int) int {
	n := 0
	for _, child := range childrenOf(parent) {
		if stateOf(child) == "Z" {
			n++
		}
		n += zombiesOf(child)
	}
	return n
}

// statusField reads one line of /proc/PID/status.
func statusField(pid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
