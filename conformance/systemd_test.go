//go:build linux && integration

package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func init() { places["systemd"] = systemdPlace{} }

// manager is the systemd of the whole run: process 1 of namespaces of its own, see testdata/boot.sh.
var manager struct {
	pid int // as seen from here
}

var systemdProblem = sync.OnceValue(func() error {
	if os.Getuid() != 0 {
		return errors.New("needs root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		return err
	}
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(scratch, "systemd.log"))
	if err != nil {
		return err
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--cgroup", //nolint:gosec // fixed
		"--uts", "--ipc", "--", "/bin/sh", script, scratch)
	cmd.Env = cleanEnv("/root")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	shutdowns = append(shutdowns, func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = log.Close() })
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		for _, child := range childrenOf(cmd.Process.Pid) {
			manager.pid = child
		}
		if manager.pid != 0 && comm(manager.pid) == "systemd" {
			out, err := systemctl("is-active", "conformance.target")
			if err == nil {
				return nil
			}
			if time.Now().After(end) {
				return fmt.Errorf("systemd: %w: %s", err, out)
			}
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("systemd did not start: %s", text)
		}
	}
})

// inside runs a command in systemd's namespaces.
func inside(args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(manager.pid), "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--root", "--"}
	return exec.Command("nsenter", append(enter, args...)...) //nolint:gosec // tests
}

func systemctl(args ...string) (string, error) {
	out, err := inside(append([]string{"systemctl", "--no-pager"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// unit is a service of a test.
type unit struct {
	t    testing.TB
	name string
	id   string
	out  *transcript
	path string // of what it prints
}

// quoted writes a word for ExecStart=.
func quoted(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "%", "%%", "$", "$$").Replace(word)
	return `"` + word + `"`
}

// newUnit writes a service that runs argv; the sections' lines come from the test.
func newUnit(t testing.TB, argv []string, service ...string) *unit {
	t.Helper()
	require(t, "systemd", systemdProblem())
	serial.Lock()
	serial.n++
	u := &unit{t: t, name: fmt.Sprintf("case-%d", serial.n), out: newTranscript()}
	u.id = fmt.Sprintf("CONFORMANCE_RUN=%d-%d", os.Getpid(), serial.n)
	serial.Unlock()
	u.path = filepath.Join(tempDir(t), "output")
	write(t, u.path, "", 0o666)
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = quoted(word)
	}
	lines := append([]string{
		"[Unit]", "DefaultDependencies=no", "StartLimitIntervalSec=0", "[Service]",
		"Environment=" + u.id, "StandardOutput=append:" + u.path, "StandardError=append:" + u.path,
		"ExecStart=" + strings.Join(words, " "),
	}, service...)
	u.write(u.name+".service", lines...)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); u.follow(stop) }()
	t.Cleanup(func() {
		_, _ = systemctl("kill", "--signal=KILL", u.name)
		_, _ = systemctl("stop", u.name)
		close(stop)
		<-ended
		if t.Failed() {
			t.Logf("%s printed:\n%s", u.name, u.out.text())
		}
	})
	return u
}

// write puts a file into systemd's runtime units. A new name needs no daemon-reload, which would make systemd forget
// how much more time another unit has asked for.
func (u *unit) write(file string, lines ...string) {
	u.t.Helper()
	path := fmt.Sprintf("/proc/%d/root/run/systemd/system/%s", manager.pid, file)
	write(u.t, path, strings.Join(lines, "\n")+"\n", 0o644)
}

// follow feeds the transcript from the file that systemd appends to.
func (u *unit) follow(stop chan struct{}) {
	f, err := os.Open(u.path)
	if err != nil {
		u.out.finish()
		return
	}
	defer f.Close() //nolint:errcheck // only read
	u.out.readFrom(tail{f, stop})
}

// tail reads a growing file until stopped.
type tail struct {
	f    *os.File
	stop chan struct{}
}

func (t tail) Read(b []byte) (int, error) {
	for {
		if n, _ := t.f.Read(b); n > 0 {
			return n, nil
		}
		select {
		case <-t.stop:
			return 0, errors.New("stopped")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start starts the unit and waits for systemd's word.
func (u *unit) start() error {
	u.t.Helper()
	out, err := systemctl("start", u.name)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (u *unit) mustStart() {
	u.t.Helper()
	if err := u.start(); err != nil {
		u.t.Fatal(err)
	}
}

// startSoon does not wait.
func (u *unit) startSoon() {
	u.t.Helper()
	if out, err := systemctl("start", "--no-block", u.name); err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
}

func (u *unit) stop() {
	u.t.Helper()
	if out, err := systemctl("stop", u.name); err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
}

// show reads a property.
func (u *unit) show(property string) string {
	u.t.Helper()
	out, err := systemctl("show", "--property="+property, "--value", u.name)
	if err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
	return out
}

func (u *unit) line(prefix string) string {
	u.t.Helper()
	rest, err := u.out.next(prefix, patience)
	if err != nil {
		u.t.Fatal(err)
	}
	return rest
}

// inactive waits for the unit's end.
func (u *unit) inactive() {
	u.t.Helper()
	eventually(u.t, "the unit has ended", func() bool {
		state := u.show("ActiveState")
		return state == "inactive" || state == "failed"
	})
}

// systemdPlace runs a command as a unit; the process that the harness holds is a shell that follows it.
type systemdPlace struct{}

func (systemdPlace) name() string     { return "systemd" }
func (systemdPlace) available() error { return systemdProblem() }

func (systemdPlace) command(t testing.TB, argv, env []string) *exec.Cmd {
	var lines []string
	for _, entry := range env {
		lines = append(lines, "Environment="+quoted(entry))
	}
	u := newUnit(t, argv, lines...)
	u.mustStart()
	cmd := exec.Command("tail", "--lines=+1", "--sleep-interval=0.01", "--follow", u.path) //nolint:gosec // tests
	cmd.Env = env
	return cmd
}

func (systemdPlace) wrapper(p *process) (pid int) {
	p.t.Helper()
	eventually(p.t, "the unit's main process is W", func() bool {
		for _, candidate := range p.survivors() {
			if fields := stat(candidate); fields != nil && fields[1] == strconv.Itoa(manager.pid) && comm(candidate) == "envexec" {
				pid = candidate
				return true
			}
		}
		return false
	})
	return pid
}

// mainSignal sends a signal to the unit's main process only.
func (u *unit) mainSignal(sig syscall.Signal) {
	u.t.Helper()
	if out, err := systemctl("kill", "--kill-whom=main", fmt.Sprint("--signal=", int(sig)), u.name); err != nil {
		u.t.Fatalf("%v: %s", err, out)
	}
}
