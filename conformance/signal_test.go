//go:build linux

package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// forwardable are the signals that reach the program, in the order in which S1 sends them.
func forwardable() []syscall.Signal {
	list := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGTERM, syscall.SIGCONT, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGVTALRM,
		syscall.SIGWINCH, syscall.SIGIO, syscall.SIGPWR,
	}
	for n := syscall.Signal(35); n <= 64; n++ { // the C library keeps 32 to 34
		list = append(list, n)
	}
	return list
}

// name is what the fixture prints for a signal.
func name(sig syscall.Signal) string {
	if text := unix.SignalName(sig); text != "" {
		return strings.TrimPrefix(text, "SIG")
	}
	return strconv.Itoa(int(sig))
}

var trapAll = []string{"trap=all", "say=ready", "wait"}

func program(words ...string) []string { return append([]string{fixture}, words...) }

// signalLines are the signals the program has printed.
func signalLines(p *process) []string {
	var names []string
	for _, line := range p.out.all() {
		if sig, ok := strings.CutPrefix(line, "signal "); ok {
			names = append(names, sig)
		}
	}
	return names
}

func TestS1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns docker systemd", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program(trapAll...)})
		p.line("ready")
		var want []string
		for _, sig := range forwardable() {
			p.signal(sig)
			want = append(want, name(sig))
			p.line("signal " + name(sig))
		}
		if got := signalLines(p); !slices.Equal(got, want) {
			t.Errorf("program saw %v, want %v", got, want)
		}
	})
}

func TestS2(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program(trapAll...)})
		p.line("ready")
		for _, sig := range []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE} {
			p.signal(sig)
		}
		p.signal(syscall.SIGUSR1)
		p.line("signal USR1")
		if got := signalLines(p); !slices.Equal(got, []string{"USR1"}) {
			t.Errorf("program saw %v", got)
		}
	})
}

// urgTrap is a shell, since a Go program sends URG to itself.
const urgTrap = `trap 'echo urg' URG; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done`

func TestS3(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	p := start(t, command{
		flags: rotating("--on-change", "none"),
		args:  []string{"/bin/bash", "-c", urgTrap}, env: append(vault.env(), "GOGC=1"),
	})
	p.line("ready")
	busy := 200 // refreshes
	if soak() {
		busy = 2500
	}
	for i := 0; vault.requests() < busy; i++ {
		p.rotate(vault, i)
		time.Sleep(10 * time.Millisecond)
	}
	p.signal(syscall.SIGUSR1)
	p.line("usr1")
	if p.out.count("urg") != 0 {
		t.Error("the runtime's own URG reached the program")
	}
}

// soak reports whether the long forms of the race cases are wanted.
func soak() bool { return os.Getenv("CONFORMANCE_SOAK") != "" }

func TestS4(t *testing.T) {
	t.Parallel()
	p := start(t, command{args: program("slow=all", "say=ready", "wait")})
	p.line("ready")
	for range 1000 {
		p.signal(syscall.SIGUSR1)
		p.signal(syscall.SIGWINCH)
	}
	p.signal(syscall.SIGTERM)
	p.line("signal TERM")
}

func TestS5(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ maps, send, want string }{
		{"", "HUP USR1 USR2 TERM", "HUP USR1 USR2 TERM"},
		{"TERM=INT", "HUP TERM", "HUP INT"},
		{"USR1=USR2,USR2=USR1", "USR1 USR2 USR1", "USR2 USR1 USR2"},
		{"HUP=PWR,PWR=HUP", "HUP PWR", "PWR HUP"},
		{"1=30,30=1", "HUP PWR", "PWR HUP"},
		{"SIGTERM=SIGQUIT", "TERM", "QUIT"},
	} {
		t.Run(c.maps, func(t *testing.T) {
			var flags []string
			if c.maps != "" {
				flags = []string{"--signal-map", c.maps}
			}
			p := start(t, command{flags: flags, args: program(trapAll...)})
			p.line("ready")
			want := strings.Fields(c.want)
			for i, sig := range strings.Fields(c.send) {
				p.signal(unix.SignalNum("SIG" + sig))
				p.line("signal " + want[i])
			}
			if got := signalLines(p); !slices.Equal(got, want) {
				t.Errorf("sent %s, program saw %v, want %v", c.send, got, want)
			}
		})
	}
}

func TestS6(t *testing.T) {
	t.Parallel()
	p := start(t, command{flags: []string{"--signal-map", "INT=0,USR1=0"}, args: program(trapAll...)})
	p.line("ready")
	p.signal(syscall.SIGINT)
	p.signal(syscall.SIGUSR1)
	p.signal(syscall.SIGUSR2)
	p.line("signal USR2")
	if got := signalLines(p); !slices.Equal(got, []string{"USR2"}) {
		t.Errorf("program saw %v", got)
	}
}

func TestS7(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"TERM", "=INT", "TERM=", "TERM:INT", "TERM=INT=QUIT", "NOSUCH=INT", "TERM=NOSUCH", "99=1", "TERM=-1", "KILL=TERM",
	} {
		t.Run(strings.ReplaceAll(text, "=", ":"), func(t *testing.T) {
			p := start(t, command{flags: []string{"--signal-map", text}, args: program("say=started")})
			got := p.wait()
			<-p.err.finished
			if got.code != 64 && got.code != 78 || p.out.text() != "" || p.err.text() == "" {
				t.Errorf("%v, stdout %q, stderr %q; want a refusal with reason", got, p.out.text(), p.err.text())
			}
		})
	}
}

func TestS8(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program(trapAll...)})
		p.line("ready")
		p.signal(37)
		p.line("signal 37")
	})
}

func TestS9(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		vault, release := newVault(t), make(chan struct{})
		t.Cleanup(func() { close(release) })
		vault.handle(func(http.ResponseWriter, *http.Request) bool { <-release; return true })
		p := start(t, command{
			place: at, flags: []string{"--env", "VALUE=secret/data/app#value"}, args: program("say=started"),
			env: []string{"VAULT_ADDR=" + vault.addr, "VAULT_ROLE_ID=r", "VAULT_SECRET_ID=s"},
		})
		eventually(t, "the login is under way", func() bool { return vault.requests() > 0 })
		p.signal(syscall.SIGTERM)
		if got := p.wait(); got.status() != 143 || p.out.text() != "" {
			t.Errorf("%v, stdout %q, want 143 or death by TERM, and no program", got, p.out.text())
		}
	})
}

func TestS10(t *testing.T) {
	t.Parallel()
	rounds := 100
	if soak() || len(peers) > 0 { // in the integration build
		rounds = 500
	}
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		var group sync.WaitGroup
		for i := range 5 {
			group.Go(func() {
				for n := range rounds / 5 {
					// The Go runtime itself starts within the first.
					termAtAnyTime(t, at, nil, []time.Duration{time.Microsecond, 3 * time.Millisecond, 50 * time.Millisecond}[(i+n)%3])
				}
			})
		}
		group.Wait()
	})
}

// termAtAnyTime stops W within the first moments of its life. Process 1 of a namespace is deaf until it has installed
// handlers (the kernel drops what it has none for), so there the time counts from its first handler.
func termAtAnyTime(t *testing.T, at place, flags []string, within time.Duration) {
	cmd := at.command(t, envexec.argv(flags, program("wait")), cleanEnv(scratch))
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	p := &process{t: t, place: at, cmd: cmd, done: done, err: newTranscript()}
	pid := p.W()
	if at.name() == "pidns" {
		eventually(t, "W has handlers", func() bool {
			caught, _ := strconv.ParseUint(statusField(pid, "SigCgt"), 16, 64)
			return caught&(1<<(syscall.SIGTERM-1)) != 0 || !p.running()
		})
	}
	time.Sleep(rand.N(within))
	children := childrenOf(pid)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("hangs after TERM")
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if code := status.ExitStatus(); code != 143 && status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want 143 or death by TERM", cmd.ProcessState)
	}
	for _, child := range children {
		if state := stateOf(child); state != "" && state != "Z" && comm(child) == "fixture" {
			t.Errorf("left process %d behind", child)
		}
	}
}

func TestS11(t *testing.T) {
	t.Parallel()
	// The program's end is known while its group is still being cleaned: for that time it is a zombie.
	p := start(t, command{args: program("spawn=same", "{", "ignore=TERM", "say=left", "wait", "}", "say=up", "waitfile="+
		gate(t), "exit=7")})
	p.line("left")
	pid := childrenOf(p.W())
	open(t)
	eventually(t, "the program is a zombie or gone", func() bool {
		state := stateOf(pid[0])
		return state == "Z" || state == ""
	})
	for range 20 {
		if p.running() {
			_ = syscall.Kill(p.W(), syscall.SIGUSR1)
		}
	}
	if got := p.wait(); got != (ending{code: 7}) {
		t.Errorf("W ended with %v, want the program's 7\n%s", got, p.err.text())
	}
}

func TestS12(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program("trap=CONT", "on=TERM", "{", "say=term", "exit=5", "}", "say=up", "stop", "wait")})
		p.line("up")
		w := p.W()
		eventually(t, "the program is stopped", func() bool {
			children := childrenOf(w)
			return len(children) == 1 && stateOf(children[0]) == "T"
		})
		p.signal(syscall.SIGTERM)
		p.line("term")
		if got := p.wait(); got != (ending{code: 5}) {
			t.Errorf("W ended with %v, want 5", got)
		}
	})
}

func TestS13(t *testing.T) {
	t.Parallel()
	ignoring := program("mask=HUP,INT:", "exec")
	p := start(t, command{before: ignoring, args: []string{"/bin/sh", "-c", "cat /proc/self/status; echo; echo ready; read x"},
		stdin: openPipe(t)})
	p.line("ready")
	ignored := fieldOf(t, p.out.all(), "SigIgn")
	if ignored&0b11 != 0b11 {
		t.Errorf("program ignores %#x, want HUP and INT (0x3) among it", ignored)
	}
	p.signal(syscall.SIGHUP)
	p.signal(syscall.SIGINT)
	// A signal that is not ignored comes after them: had they been taken, the program would be gone by now.
	p.signal(syscall.SIGWINCH)
	for _, child := range childrenOf(p.W()) {
		if stateOf(child) == "Z" {
			t.Error("the program died of an ignored signal")
		}
	}
	if !p.running() {
		t.Error("W died of an ignored signal")
	}
}

// fieldOf reads a signal mask from lines of /proc/self/status.
func fieldOf(t *testing.T, lines []string, key string) uint64 {
	t.Helper()
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return mask
		}
	}
	t.Fatalf("no %s in %s", key, fmt.Sprint(lines))
	return 0
}

// openPipe returns the read end of a pipe that stays open and empty for the test.
func openPipe(t testing.TB) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r
}
