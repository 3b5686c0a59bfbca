//go:build linux

package conformance

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestX1(t *testing.T) {
	t.Parallel()
	flags := []string{"--exec", "--log-level", "warn"}
	p := start(t, command{flags: flags, args: program("dump", "wait")})
	r := p.dump()
	bare := start(t, command{under: none, args: program("dump", "wait")}).dump()
	if r.Pid != p.W() || len(p.survivors()) != 1 {
		t.Errorf("program is %d, W was %d, processes %v", r.Pid, p.W(), p.survivors())
	}
	if a, b := slices.Sorted(maps.Keys(r.FDs)), slices.Sorted(maps.Keys(bare.FDs)); !slices.Equal(a, b) {
		t.Errorf("descriptors %v, without a wrapper %v", a, b)
	}
	look := func(under parent) []string {
		p := start(t, command{
			under: under, flags: flags, before: []string{"/bin/sh", "-c", `ulimit -Sn 777; exec "$@"`, "sh"},
			args: []string{"/bin/sh", "-c", "grep -E '^(Sig(Ign|Blk))' /proc/self/status; ulimit -Sn"},
		})
		p.wait()
		<-p.out.finished
		return p.out.all()
	}
	if got, want := look(envexec), look(none); !slices.Equal(got, want) {
		t.Errorf("program has %v, without a wrapper %v", got, want)
	}
	l := listener(t)
	p = start(t, command{
		before: []string{"/bin/sh", "-c", `NOTIFY_SOCKET=/run/nobody LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh"},
		flags:  flags, files: []*os.File{l.file}, args: program("env=NOTIFY_SOCKET", "http", "say=up", "wait"),
	})
	if path := p.line("env NOTIFY_SOCKET="); path != "/run/nobody" {
		t.Errorf("NOTIFY_SOCKET=%q", path)
	}
	p.line("up")
	for range 50 { // a stop is not lost on the way
		termAtAnyTime(t, plain{}, flags, 30*time.Millisecond)
	}
}

// usage is what must stay flat over restarts.
func usage(t testing.TB, pid int) (fds, threads, rss int) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	threads, _ = strconv.Atoi(statusField(pid, "Threads"))
	rss, _ = strconv.Atoi(strings.TrimSuffix(statusField(pid, "VmRSS"), " kB"))
	return len(entries), threads, rss
}

func TestX2(t *testing.T) {
	t.Parallel()
	rounds := 150
	if soak() {
		rounds = 1000
	}
	vault := newVault(t)
	p := start(t, command{
		flags: rotating("--quiet", "0s"), args: program("on=TERM", "{", "exit=0", "}", "env=VALUE", "wait"),
		env: append(vault.env(), "GOGC=100"), // not at rest, as it is in the first seconds
	})
	p.line("env VALUE=1")
	turn := func(from, to int) {
		for i := from; i < to; i++ {
			p.rotate(vault, fmt.Sprint("v", i))
			p.line(fmt.Sprint("env VALUE=v", i))
		}
	}
	turn(0, 50)
	fds, threads, rss := usage(t, p.W())
	turn(50, 50+rounds)
	laterFDs, laterThreads, laterRSS := usage(t, p.W())
	if laterFDs > fds+3 || laterThreads > threads+6 || laterRSS > rss+8<<10 {
		t.Errorf("after %d restarts: descriptors %d to %d, threads %d to %d, memory %d to %d KiB",
			rounds, fds, laterFDs, threads, laterThreads, rss, laterRSS)
	}
	t.Logf("%d restarts: descriptors %d to %d, threads %d to %d, memory %d to %d KiB",
		rounds, fds, laterFDs, threads, laterThreads, rss, laterRSS)
}

// X3 runs a build that panics where it is told to. The panic of a library's own goroutine is not among these: Go ends
// the process with status 2 then, and the program gets the parent-death signal of S19.
func TestX3(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(scratch, "envexec-faults")
	build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs,faults", "-o", broken, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := run(build); err != nil {
		t.Fatal(err)
	}
	under := parent{"faults", func(flags, args []string) []string {
		return append(append([]string{broken}, flags...), append([]string{"--"}, args...)...)
	}}
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		for where, sig := range map[string]syscall.Signal{"supervisor": syscall.SIGUSR1, "service": refreshNow} {
			t.Run(where, func(t *testing.T) {
				vault := newVault(t)
				p := start(t, command{
					place: at, under: under, flags: rotating(), env: append(vault.env(), "ENVEXEC_FAULT="+where),
					args: program("on=TERM", "{", "say=term", "exit=0", "}", "env=VALUE", "wait"),
				})
				p.line("env VALUE=1")
				p.signal(sig)
				p.line("term")
				expectEnd(t, p, 125)
				<-p.err.finished
				if text := p.err.text(); strings.Contains(text, "secret-in-a-panic") || !strings.Contains(text, "fault.Point") {
					t.Errorf("W wrote:\n%s", text)
				}
				if left := p.survivors(); len(left) != 0 {
					t.Errorf("processes %v are left", left)
				}
			})
		}
	})
}

// X4: no /proc at all. The container part of the case is places docker of E1, S1 and Z1.
func TestX4(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	root := tempDir(t)
	for _, path := range []string{binary, fixture} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, filepath.Base(path)), string(text), 0o755)
	}
	if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil { //nolint:gosec // for every user
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(root, "dev", "null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		require(t, "root", err)
	}
	bare := parent{"chroot", func(flags, args []string) []string {
		argv := append([]string{"unshare", "--pid", "--fork", "--kill-child", "chroot", "--userspec=12345:12345", root, "/envexec"}, flags...)
		return append(append(argv, "--", "/fixture"), args[1:]...)
	}}
	for _, code := range []int{0, 7, 255} {
		expectEnd(t, start(t, command{under: bare, args: program(fmt.Sprint("exit=", code))}), code)
	}
	p := start(t, command{under: bare, args: program("orphans=20:200ms", "trap=USR1", "on=TERM", "{", "exit=5", "}", "say=up", "wait")})
	p.line("up")
	p.wrapper = pidns{}.wrapper(p)
	eventually(t, "the orphans are reaped", func() bool { return len(childrenOf(p.W())) == 1 })
	p.signal(syscall.SIGUSR1)
	p.line("signal USR1")
	p.signal(syscall.SIGTERM)
	expectEnd(t, p, 5)
	p = start(t, command{under: bare, flags: []string{"--listen", "web=tcp://127.0.0.1:0"}, args: program("listen", "exit=3")})
	if got := p.wait(); got.code != 3 && p.err.text() == "" {
		t.Errorf("a held socket without /proc: %v and no message", got)
	}
}

// X5: a kernel or a container filter without process descriptors.
func TestX5(t *testing.T) {
	t.Parallel()
	denied := program("nopidfd", "exec")
	for _, code := range []int{0, 9, 255} {
		expectEnd(t, start(t, command{before: denied, args: program(fmt.Sprint("exit=", code))}), code)
	}
	p := start(t, command{before: denied, args: program("orphans=50:300ms", "say=ready", "trap=all", "say=trapped", "wait")})
	p.line("trapped")
	for _, sig := range forwardable() {
		p.signal(sig)
		p.line("signal " + name(sig))
	}
	eventually(t, "the orphans are reaped", func() bool { return len(childrenOf(p.W())) == 1 })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p = start(t, command{
		under: none, before: denied, args: []string{self},
		env: []string{"CONFORMANCE_STORM=exec", "CONFORMANCE_FIXTURE=" + fixture},
	})
	if lost := p.line("lost "); lost != "0" {
		t.Errorf("%s statuses lost", lost)
	}
}
