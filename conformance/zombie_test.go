//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestZ1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "pidns docker", expectReaped)
}

func TestZ2(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain", expectReaped)
}

// expectReaped lets 100 orphans end over two seconds.
func expectReaped(t *testing.T, at place) {
	p := start(t, command{place: at, args: program("orphans=100:2s", "say=ready", "wait")})
	p.line("ready")
	w := p.W()
	eventually(t, "the orphans came to W", func() bool { return len(childrenOf(w)) > 1 })
	eventually(t, "no orphan is left, living or dead", func() bool { return len(childrenOf(w)) == 1 })
}

func TestZ3(t *testing.T) {
	t.Parallel()
	p := start(t, command{flags: []string{"--subreaper=false"}, args: program("orphans=20:300ms", "say=ready", "wait")})
	p.line("ready")
	// Their parent has ended by then, and the kernel moves orphans at that moment.
	if n := len(childrenOf(p.W())); n != 1 {
		t.Errorf("W has %d children, want only the program", n)
	}
	warned := 0
	for _, line := range p.err.all() {
		if strings.Contains(line, "not adopting orphans") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("warned %d times, want once: %q", warned, p.err.all())
	}
}

// stormIn runs this test binary as a supervisor of its own.
func stormIn(t *testing.T, at place, script string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, command{
		place: at, under: none, args: []string{self},
		env: []string{"CONFORMANCE_STORM=" + script, "CONFORMANCE_FIXTURE=" + fixture},
	})
	if lost := p.line("lost "); lost != "0" {
		t.Errorf("%s statuses lost", lost)
	}
	p.wait()
}

func TestZ4(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		stormIn(t, at, "exec")
	})
}

// Z5: a library's own program is the probe of --ready exec here: W must see its status though it is process 1 and
// reaps whatever ends.
func TestZ5(t *testing.T) {
	t.Parallel()
	inPlaces(t, "pidns plain", func(t *testing.T, at place) {
		dir := tempDir(t)
		probe := filepath.Join(dir, "probe")
		write(t, probe, "#!/bin/sh\necho tried >>"+dir+"/tries\ntest $(wc -l <"+dir+"/tries) -ge 4\n", 0o755)
		notify := newNotifySocket(t)
		start(t, command{
			place: at, flags: []string{"--ready", "exec:" + probe},
			args: program("orphans=40:1s", "wait"), env: []string{"NOTIFY_SOCKET=" + notify.path},
		})
		notify.expect("READY=1")
		tries, err := os.ReadFile(filepath.Join(dir, "tries"))
		if err != nil || strings.Count(string(tries), "tried") != 4 {
			t.Errorf("ready after %q (%v), want four tries of which the last succeeds", tries, err)
		}
	})
}

func TestZ6(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{
			place: at, before: []string{"/bin/sh", "-c", `(exit 3) & (sleep 0.3; exit 4) & sleep 0.1 & exec "$@"`, "sh"},
			args: program("say=ready", "waitfile="+gate(t), "exit=5"),
		})
		p.line("ready")
		eventually(t, "the shell's children are reaped", func() bool { return len(childrenOf(p.W())) == 1 })
		open(t)
		expectEnd(t, p, 5)
	})
}

func TestZ7(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		fifo := filepath.Join(tempDir(t), "fifo")
		if err := syscall.Mkfifo(fifo, 0o666); err != nil {
			t.Fatal(err)
		}
		// All block in read until the only writer closes, then end in the same instant.
		script := fmt.Sprintf(`exec 3<>%s; sh -c 'i=0; while [ $i -lt 500 ]; do (exec 4<%s 3>&-; echo up; read x <&4) & i=$((i+1)); done'
			echo ready; read x; exec 3>&-; sleep 60`, fifo, fifo)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // a pipe
		p := start(t, command{place: at, args: []string{"/bin/sh", "-c", script}, stdin: r})
		p.line("ready")
		eventually(t, "all 500 wait", func() bool { return p.out.count("up") == 500 })
		_, _ = w.WriteString("go\n")
		_ = w.Close()
		eventually(t, "all 500 are reaped", func() bool {
			return len(childrenOf(p.W())) == 1 && zombiesOf(p.W()) == 0
		})
	})
}

// Z8 and G5: ids wrap in a second in a namespace of 400, so a signal sent by number to something that has gone would
// hit a stranger: strangers are programs that print every signal they get.
func TestZ8(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	inPlaces(t, "pidns", func(t *testing.T, at place) {
		vault := newVault(t)
		p := start(t, command{
			place: at, before: []string{"/bin/sh", "-c", `echo 400 >/proc/sys/kernel/pid_max; exec "$@"`, "sh"},
			flags: rotating(),
			args: program("trap=USR1", "on=TERM", "{", "exit=0", "}",
				"spawn=daemon", "{", "trap=HUP,INT,USR1,USR2,QUIT", "say=stranger", "forever", "{", "churn=20", "}", "}",
				"env=VALUE", "say=ready", "wait"),
			env: vault.env(),
		})
		p.line("ready")
		stranger := strangerOf(t, p)
		for i := range 1000 {
			p.signal(syscall.SIGUSR1)
			if i%100 == 99 {
				p.rotate(vault, i)
				p.line(fmt.Sprintf("env VALUE=%d", i))
			}
		}
		if n := len(p.survivors()); n < 3 {
			t.Errorf("only %d processes left; the stranger %d is %q", n, stranger, stateOf(stranger))
		}
		for _, line := range signalLines(p) {
			if line != "USR1" {
				t.Errorf("somebody got %s", line)
			}
		}
	})
}

// strangerOf finds the program's daemon: the process that is its own session's leader.
func strangerOf(t *testing.T, p *process) (pid int) {
	t.Helper()
	eventually(t, "the daemon is there", func() bool {
		for _, candidate := range p.survivors() {
			if fields := stat(candidate); len(fields) > 3 && candidate != p.W() && fields[1] == strconv.Itoa(p.W()) {
				pid = candidate
				return true
			}
		}
		return false
	})
	return pid
}

func TestZ10(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, command{
			place: at, under: none, args: []string{self},
			env: []string{"CONFORMANCE_STORM=threads", "CONFORMANCE_FIXTURE=" + fixture},
		})
		p.line("lost ") // whatever the number: the case asks for no hang
		p.wait()
	})
}

func TestZ11(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns docker", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program("spawn=daemon", "{", "say=holding", "wait", "}", "say=up", "waitfile="+gate(t), "exit=3")})
		p.line("holding")
		open(t)
		expectEnd(t, p, 3)
	})
}

// Z12 has two sides: with a grace longer than the test's patience the leftover is waited for, with a short one killed.
func TestZ12(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		begin := func(grace string) (*process, []int) {
			p := start(t, command{
				place: at, flags: []string{"--stop-grace", grace},
				args: program("spawn=daemon", "{", "on=TERM", "{", "say=told", "waitfile="+gate(t, "daemon"), "say=done", "exit=0", "}", "say=daemon", "wait", "}",
					"waitfile="+gate(t), "exit=3"),
			})
			p.line("daemon")
			return p, p.survivors()
		}
		patient, _ := begin("1h")
		hasty, pids := begin("200ms")
		open(t)
		patient.line("told")
		hasty.line("told")
		expectEnd(t, hasty, 3)
		if n := hasty.out.count("done"); n != 0 {
			t.Error("the leftover ended by itself, want it killed")
		}
		if left := hasty.survivors(); len(left) != 0 {
			t.Errorf("%d of %d processes are left", len(left), len(pids))
		}
		eventually(t, "no zombie is left", func() bool { // what W killed last may be left to who reaps W
			return !slices.ContainsFunc(pids, func(pid int) bool { return stateOf(pid) == "Z" })
		})
		if !patient.running() {
			t.Error("W did not wait for the leftover")
		}
		open(t, "daemon")
		patient.line("done")
		expectEnd(t, patient, 3)
	})
}
