//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition: long enough for two busy cores, never reached by a passing test. Where a
// case asks for "at once", the wrong behaviour would last longer than this.
const patience = 90 * time.Second

// command is one program to start in a place, under a parent.
type command struct {
	place place
	under parent
	flags []string // the parent's
	args  []string // the program and its arguments
	env   []string // added to a small clean environment
	dir   string
	stdin *os.File
	// attr and files are for the few cases that need them; files follow 0, 1, 2.
	attr  *syscall.SysProcAttr
	files []*os.File
	// stderr replaces the recorded pipe, stdout likewise.
	stdout, stderr *os.File
	// before is put in front of the parent's command line (a shell, prlimit, nohup).
	before []string
}

// process is a started command.
type process struct {
	t        testing.TB
	place    place
	cmd      *exec.Cmd
	out, err *transcript
	id       string // in the environment of everything it started
	done     chan struct{}
	state    *os.ProcessState
	wrapper  int // pid of W as seen from here; 0 = cmd's own
}

var serial struct {
	sync.Mutex
	n int
}

// cleanEnv is what a program gets when a test says nothing else: no Vault, no configuration from the tester.
func cleanEnv(home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "LANG=C.UTF-8", "TERM=dumb",
	}
}

// tempDir is t.TempDir for programs of every user and place.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "case-")
	if err == nil {
		err = os.Chmod(dir, 0o777) //nolint:gosec // programs run as other users write here
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start starts a command; at the end of the test whatever is left of it is killed.
func start(t testing.TB, c command) *process {
	t.Helper()
	if c.place == nil {
		c.place = plain{}
	}
	if c.under.argv == nil {
		c.under = envexec
	}
	serial.Lock()
	serial.n++
	id := fmt.Sprintf("CONFORMANCE_RUN=%d-%d", os.Getpid(), serial.n)
	serial.Unlock()
	argv := c.under.argv(c.flags, c.args)
	if len(c.before) > 0 {
		argv = append(append([]string{}, c.before...), argv...)
	}
	env := append(append(cleanEnv(tempDir(t)), id), c.env...)
	p := &process{t: t, place: c.place, id: id, out: newTranscript(), err: newTranscript(), done: make(chan struct{})}
	p.cmd = c.place.command(t, argv, env)
	p.cmd.Dir = c.dir
	if c.stdin != nil {
		p.cmd.Stdin = c.stdin
	}
	if c.attr != nil {
		p.cmd.SysProcAttr = c.attr
	}
	p.cmd.ExtraFiles = c.files
	stdout, closeOut := p.record(c.stdout, p.out)
	stderr, closeErr := p.record(c.stderr, p.err)
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	err := p.cmd.Start()
	closeOut()
	closeErr()
	if err != nil {
		t.Fatalf("start %v: %v", argv, err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.state = p.cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(p.cleanUp)
	return p
}

// record returns what a stream of the command is written to: the given file, or a pipe whose lines can be waited for.
// The pipe is ours, so that waiting for the command does not wait for orphans that hold it.
func (p *process) record(given *os.File, lines *transcript) (stream *os.File, closeOurs func()) {
	if given != nil {
		lines.finish()
		return given, func() {}
	}
	r, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	go lines.readFrom(r)
	p.t.Cleanup(func() { _ = r.Close(); <-lines.finished })
	return w, func() { _ = w.Close() }
}

// cleanUp kills everything that carries the run's mark.
func (p *process) cleanUp() {
	if p.t.Failed() {
		p.t.Logf("stdout of %v:\n%s\nstderr:\n%s", p.cmd.Args, p.out.text(), p.err.text())
	}
	for {
		_ = p.cmd.Process.Kill()
		for _, pid := range p.survivors() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-p.done:
			if len(p.survivors()) == 0 {
				return
			}
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// survivors lists the living processes that this command started, itself included.
func (p *process) survivors() []int {
	var pids []int
	for _, pid := range allPids() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(env, append([]byte(p.id), 0)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// W returns the pid of the parent under test as this process sees it.
func (p *process) W() int {
	p.t.Helper()
	if p.wrapper == 0 {
		p.wrapper = p.place.wrapper(p)
	}
	return p.wrapper
}

// signal sends a signal to W.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.W(), sig); err != nil {
		p.t.Fatalf("send %v: %v", sig, err)
	}
}

// wait waits for W's end, and for the last of its output where nothing of it lives on.
func (p *process) wait() ending {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("still running after %v: %v", patience, p.cmd.Args)
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	if !ok {
		p.t.Fatal("no wait status")
	}
	if len(p.survivors()) == 0 {
		p.out.drain()
		p.err.drain()
	}
	if status.Signaled() {
		return ending{signal: status.Signal(), core: status.CoreDump()}
	}
	return ending{code: status.ExitStatus()}
}

// running reports whether W has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// line waits for a line of the program that starts with prefix, after those already taken, and returns its rest.
func (p *process) line(prefix string) string {
	p.t.Helper()
	rest, err := p.out.next(prefix, patience)
	if err != nil {
		p.t.Fatalf("%v\nstdout:\n%s\nstderr:\n%s", err, p.out.text(), p.err.text())
	}
	return rest
}

// dump reads the program's next report about itself.
func (p *process) dump() report {
	p.t.Helper()
	var r report
	if err := json.Unmarshal([]byte(p.line("dump ")), &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// report mirrors the fixture's.
type report struct {
	Pid, Ppid, Pgid, Sid, Tpgid int
	Cwd                         string
	Argv, Env                   []string
	FDs                         map[int]string
	Status                      map[string]string
}

func (r report) env(name string) (string, bool) {
	for _, entry := range r.Env {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// ending is how a process ended.
type ending struct {
	code   int
	signal syscall.Signal
	core   bool
}

func (e ending) String() string {
	if e.signal != 0 {
		return fmt.Sprintf("signal %d", int(e.signal))
	}
	return fmt.Sprintf("status %d", e.code)
}

// status is what a shell shows: the code, or 128+n.
func (e ending) status() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
