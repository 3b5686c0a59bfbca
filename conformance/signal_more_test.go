//go:build linux

package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// S14: what a parent ignores and blocks. The program under W differs from one without a wrapper only in the rows that
// docs/conformance.md explains: the Go runtime keeps an inherited "ignore" only for HUP and INT (and for what nobody
// catches), and starts programs with nothing blocked.
func TestS14(t *testing.T) {
	t.Parallel()
	set := program("mask=HUP,INT,USR2,WINCH,PIPE,TTOU:USR1,TERM,INT", "exec")
	masks := func(under parent) (ignored, blocked uint64) {
		p := start(t, command{before: set, under: under, args: []string{"/bin/cat", "/proc/self/status"}})
		p.wait()
		<-p.out.finished
		return fieldOf(t, p.out.all(), "SigIgn"), fieldOf(t, p.out.all(), "SigBlk")
	}
	wantIgnored, wantBlocked := masks(none)
	gotIgnored, gotBlocked := masks(envexec)
	bit := func(sig syscall.Signal) uint64 { return 1 << (sig - 1) }
	// Explained: these lose their inherited "ignore" because W catches them to forward or to survive them.
	lost := bit(syscall.SIGUSR2) | bit(syscall.SIGWINCH) | bit(syscall.SIGPIPE)
	if diff := gotIgnored ^ wantIgnored; diff&^lost != 0 {
		t.Errorf("ignored: %#x, without a wrapper %#x: unexplained %#x", gotIgnored, wantIgnored, diff&^lost)
	}
	// Explained: INT and TERM come out unblocked, or nothing at all is blocked.
	if gotBlocked&^wantBlocked != 0 {
		t.Errorf("blocked: %#x, without a wrapper %#x", gotBlocked, wantBlocked)
	}
}

func TestS15(t *testing.T) {
	t.Parallel()
	for range 10 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, command{
			flags: []string{"--log-level", "trace"}, args: program(trapAll...), stderr: w,
		})
		_ = w.Close()
		p.line("ready")
		_ = r.Close()
		for range 3 { // each is logged
			p.signal(syscall.SIGUSR1)
			p.line("signal USR1")
		}
		if !p.running() {
			t.Fatal("W died with its reader")
		}
	}
}

func TestS16(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program(trapAll...)})
		p.line("ready")
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT} {
			p.signal(sig)
			p.line("signal " + name(sig))
		}
		if strings.Contains(p.err.text(), "goroutine ") {
			t.Errorf("stack dump:\n%s", p.err.text())
		}
	})
}

func TestS17(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		// The program's own child is in its group; "wait" mode reports how it ended, then the program ends.
		p := start(t, command{
			place: at, flags: []string{"--signal-group"},
			args: program("trap=USR1", "spawn=wait", "{", "say=up", "exec=sleep 60", "}", "exit=4"),
		})
		p.line("up")
		eventually(t, "the child has become sleep", func() bool {
			return slices.ContainsFunc(p.survivors(), func(pid int) bool { return comm(pid) == "sleep" })
		})
		p.signal(syscall.SIGUSR1)
		p.line("child signal: user defined signal 1")
		if got := p.wait(); got != (ending{code: 4}) {
			t.Errorf("W ended with %v, want 4", got)
		}
	})
}

func TestS18(t *testing.T) {
	t.Parallel()
	p := start(t, command{
		flags: []string{leaveLeftovers},
		args:  []string{"/bin/sh", "-c", "yes | tail >/dev/null & yes | tail >/dev/null & echo up; wait"},
	})
	p.line("up")
	w := p.W()
	tree := func() []int { return slices.DeleteFunc(p.survivors(), func(pid int) bool { return pid == w }) }
	eventually(t, "the pipelines run", func() bool {
		n := 0
		for _, pid := range tree() {
			if name := comm(pid); name == "yes" || name == "tail" {
				n++
			}
		}
		return n == 4
	})
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got.status() != 143 {
		t.Errorf("W ended with %v, want death by TERM", got)
	}
	if left := tree(); len(left) != 4 {
		t.Errorf("%d processes of the pipelines live on, want all 4", len(left))
	}
}

func TestS19(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	p := start(t, command{
		flags: rotating("--on-change", "none"),
		args:  program("trap=all", "on=TERM", "{", "sleep=20ms", "exit=0", "}", "say=ready", "wait"), env: vault.env(),
	})
	p.line("ready")
	eventually(t, "W's threads came and went", func() bool {
		p.rotate(vault, vault.requests())
		return vault.requests() > 50
	})
	if got := signalLines(p); len(got) != 0 {
		t.Errorf("the program got %v while W lives", got)
	}
	p.signal(syscall.SIGKILL)
	p.line("signal TERM")
}

func TestS20(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program(trapAll...)})
		p.line("ready")
		for range 2 {
			p.signal(syscall.SIGTERM)
			p.line("signal TERM")
		}
		p.signal(syscall.SIGUSR1)
		p.line("signal USR1")
		if got := signalLines(p); !slices.Equal(got, []string{"TERM", "TERM", "USR1"}) {
			t.Errorf("program saw %v", got)
		}
	})
}

func TestS21(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program("trap=USR1", "on=TERM", "{", "say=term", "waitfile="+gate(t), "exit=6", "}", "say=up", "wait")})
		p.line("up")
		p.signal(syscall.SIGTERM)
		p.line("term")
		p.signal(syscall.SIGUSR1) // W is there as long as the program takes, and works
		p.line("signal USR1")
		open(t)
		expectEnd(t, p, 6)
	})
}

// gatePath is the file that opens a waiting program of this test.
func gatePath(t testing.TB, names ...string) string {
	name := strings.Join(append([]string{t.Name()}, names...), "-")
	return filepath.Join(scratch, "gates", strings.ReplaceAll(name, "/", "-"))
}

// gate names a file that does not exist until open; a test with several names each.
func gate(t testing.TB, names ...string) string {
	t.Helper()
	path := gatePath(t, names...)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	return path
}

func open(t testing.TB, names ...string) {
	t.Helper()
	write(t, gatePath(t, names...), "", 0o644)
}

// leaveLeftovers is the flag under which what the program leaves behind is not ended.
const leaveLeftovers = "--leave-orphans"
