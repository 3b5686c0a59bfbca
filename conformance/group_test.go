//go:build linux

package conformance

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestG1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns docker systemd", func(t *testing.T, at place) {
		p := start(t, command{place: at, args: program("dump", "wait")})
		r := p.dump()
		if r.Pgid != r.Pid {
			t.Errorf("program's group is %d, want its pid %d", r.Pgid, r.Pid)
		}
		child := childrenOf(p.W())
		if len(child) != 1 {
			t.Fatalf("W has children %v", child)
		}
		if of, want := stat(child[0])[3], stat(p.W())[3]; of != want {
			t.Errorf("program's session is %s, want W's %s", of, want)
		}
	})
}

// stopAfter stops W and expects that nothing is left after the second it was given. That it is not much later is
// shown with a clock that waits for nobody, in supervise.
func stopAfter(t *testing.T, p *process) {
	t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got.status() != 137 {
		t.Errorf("W ended with %v, want the program's death by KILL", got)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("killed after %v, want not before the second it was given", took)
	}
	if left := p.survivors(); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestG2(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{
			place: at, flags: []string{"--stop-timeout", "1s"},
			args: []string{"/bin/sh", "-c", `trap "" TERM; "$0" ignore=TERM say=grandchild wait; exit 0`, fixture},
		})
		p.line("grandchild")
		stopAfter(t, p)
	})
}

func TestG3(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		p := start(t, command{
			place: at, flags: []string{"--stop-timeout", "1s"},
			args: program("ignore=TERM", "spawn=session", "{", "ignore=TERM", "say=grandchild", "wait", "}", "wait"),
		})
		p.line("grandchild")
		stopAfter(t, p)
	})
}

func TestG4(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		script := program("spawn=same", "{", "on=TERM", "{", "say=got-term", "exit=0", "}", "say=background", "wait", "}",
			"waitfile="+gate(t), "exit=0")
		p := start(t, command{place: at, args: script})
		p.line("background")
		open(t)
		p.line("got-term")
		expectEnd(t, p, 0)
	})
	t.Run("left alone", func(t *testing.T) {
		script := program("spawn=same", "{", "on=TERM", "{", "say=got-term", "exit=0", "}", "say=background", "wait", "}",
			"waitfile="+gate(t), "exit=0")
		p := start(t, command{flags: []string{leaveLeftovers}, args: script})
		p.line("background")
		open(t)
		expectEnd(t, p, 0)
		if p.out.count("got-term") != 0 || len(p.survivors()) != 1 {
			t.Errorf("the background process was not left alone: %v", p.survivors())
		}
	})
}

func expectEnd(t *testing.T, p *process, code int) {
	t.Helper()
	if got := p.wait(); got != (ending{code: code}) {
		t.Errorf("W ended with %v, want status %d", got, code)
	}
}

// G5 is Z8's arrangement with many programs that end: each end cleans a group which is empty, among ids that wrap.
func TestG5(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	inPlaces(t, "pidns", func(t *testing.T, at place) {
		dir := tempDir(t)
		p := start(t, command{
			place: at, before: []string{"/bin/sh", "-c", `echo 400 >/proc/sys/kernel/pid_max; exec "$@"`, "sh"},
			under: none, args: []string{"/bin/sh", "-c", fmt.Sprintf(`
				%[1]s trap=HUP,INT,TERM,USR1,USR2,QUIT say=stranger forever { churn=20 sleep=5ms } >%[2]s/stranger &
				i=0; while [ $i -lt 60 ]; do %[3]s --log-level warn -- /bin/true || exit 1; i=$((i+1)); done
				kill -0 $! && echo intact; kill -KILL $!; echo end`, fixture, dir, binary)},
		})
		p.line("intact")
		p.line("end")
		text, err := os.ReadFile(dir + "/stranger")
		if err != nil || strings.Contains(string(text), "signal ") {
			t.Errorf("the stranger got a signal: %s (%v)", text, err)
		}
	})
}

func TestG6(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		for _, outer := range nestings() {
			t.Run(outer.name, func(t *testing.T) { nested(t, at, outer) })
		}
	})
	inPlaces(t, "docker-init", func(t *testing.T, at place) { nested(t, at, envexec) }) // Docker's own tini
}

// nested expects what W does without anybody in front of it.
func nested(t *testing.T, at place, outer parent) {
	t.Helper()
	expectEnd(t, start(t, command{place: at, under: outer, args: program("exit=42")}), 42)
	p := start(t, command{place: at, under: outer, args: program("on=TERM", "{", "say=term", "exit=43", "}", "say=up", "wait")})
	p.line("up")
	p.signal(syscall.SIGTERM)
	p.line("term")
	expectEnd(t, p, 43)
	if p.out.count("term") != 1 {
		t.Errorf("the program got TERM %d times", p.out.count("term"))
	}
}

// nestings are parents in front of W.
func nestings() []parent {
	inside := func(front ...string) func(flags, args []string) []string {
		return func(flags, args []string) []string { return append(front, envexec.argv(flags, args)...) }
	}
	list := []parent{{"envexec", inside(binary, "--")}}
	for _, peer := range peers {
		if peer.name == "tini" {
			list = append(list, parent{"tini", func(flags, args []string) []string {
				return peer.argv(nil, envexec.argv(flags, args))
			}})
		}
	}
	return list
}

// peers are the other wrappers, in the build that has them.
var peers []parent
