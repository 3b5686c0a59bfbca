//go:build linux

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// refreshNow is the signal that makes W read its secrets again, so that a case need not wait for the interval.
const refreshNow = syscall.SIGPWR

// rotating are the flags of a program whose value comes from Vault and is read again at that signal.
func rotating(more ...string) []string {
	return append([]string{
		"--env", "VALUE=secret/data/app#value", "--quiet", "10ms", "--refresh-signal", "PWR", "--min-uptime", "1ms",
	}, more...)
}

// rotate changes the secret and lets W know.
func (p *process) rotate(vault *scripted, value any) {
	p.t.Helper()
	vault.set(value)
	p.signal(refreshNow)
}

// fastRestart shortens the pauses of --restart; the least pause is 100 ms.
var fastRestart = []string{"--restart-min-backoff", "100ms", "--restart-max-backoff", "100ms"}

// starts counts the starts that the fixture's word "codes" has noted.
func starts(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// R1 is systemd's table of Restart= conditions.
func TestR1(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy, ends string
		again        bool
	}{
		{"no", "0", false}, {"no", "1", false}, {"no", "TERM", false}, {"no", "SEGV", false},
		{"on-failure", "0", false}, {"on-failure", "1", true}, {"on-failure", "TERM", false}, {"on-failure", "SEGV", true},
		{"on-abnormal", "0", false}, {"on-abnormal", "1", false}, {"on-abnormal", "TERM", false}, {"on-abnormal", "SEGV", true},
		{"always", "0", true}, {"always", "1", true}, {"always", "TERM", true}, {"always", "SEGV", true},
		{"no", "timeout", false}, {"on-failure", "timeout", true}, {"on-abnormal", "timeout", true}, {"always", "timeout", true},
	} {
		t.Run(c.policy+" "+c.ends, func(t *testing.T) {
			t.Parallel()
			count := filepath.Join(tempDir(t), "count")
			flags := append([]string{"--restart", c.policy, "--restart-limit", "0"}, fastRestart...)
			script := program("codes="+count+":"+c.ends+",run", "say=second", "notify=READY=1", "on=TERM", "{", "exit=0", "}", "wait")
			if c.ends == "timeout" {
				flags = append(flags, "--ready", "notify", "--ready-timeout", "200ms")
				script = program("codes="+count+":run,run", "say=up", "wait")
			}
			p := start(t, command{flags: flags, args: script})
			if !c.again {
				p.wait()
				if n := starts(count); n != 1 {
					t.Errorf("started %d times, want once", n)
				}
				return
			}
			eventually(t, "a second start", func() bool { return starts(count) > 1 })
			if !p.running() {
				t.Error("W ended")
			}
		})
	}
}

func TestR4(t *testing.T) {
	t.Parallel()
	vault, count := newVault(t), filepath.Join(tempDir(t), "count")
	p := start(t, command{
		flags: rotating(append(fastRestart, "--restart", "always", "--restart-limit", "3", "--restart-interval", "60s")...),
		args: program("codes="+count+":run,run,run,run,run,run,7", "on=TERM", "{", "exit=0", "}", "env=VALUE",
			"waitfile="+gate(t), "exit=7"),
		env: vault.env(),
	})
	p.line("env VALUE=1")
	for i := 2; i <= 6; i++ { // rotations do not count
		p.rotate(vault, i)
		p.line(fmt.Sprint("env VALUE=", i))
	}
	open(t)
	expectEnd(t, p, 7)
	if n := starts(count); n < 8 || n > 10 {
		t.Errorf("%d starts: want 6 for the first and the rotations, and 2 to 4 of the crashing one", n)
	}
	gaveUp := 0
	<-p.err.finished
	for _, line := range p.err.all() {
		if strings.Contains(line, "limit") || strings.Contains(line, "giv") {
			gaveUp++
		}
	}
	if gaveUp != 1 {
		t.Errorf("%d lines say that it gave up, want one:\n%s", gaveUp, p.err.text())
	}
}

func TestR5(t *testing.T) {
	t.Parallel()
	count := filepath.Join(tempDir(t), "count")
	p := start(t, command{
		flags: []string{"--restart", "always", "--restart-min-backoff", "24h", "--restart-max-backoff", "24h"},
		args:  program("codes=" + count + ":5"),
	})
	eventually(t, "the program has ended", func() bool {
		return starts(count) == 1 && len(childrenOf(p.W())) == 0
	})
	p.signal(syscall.SIGTERM)
	p.wait()
	if n := starts(count); n != 1 {
		t.Errorf("%d starts", n)
	}
}

func TestR6(t *testing.T) {
	t.Parallel()
	vault, dir := newVault(t), tempDir(t)
	p := start(t, command{
		flags: rotating("--restart", "always", "--restart-min-backoff", "1s", "--restart-max-backoff", "1s"),
		args:  program("env=VALUE", "codes="+dir+"/count:5,run", "wait"), env: vault.env(),
	})
	p.line("env VALUE=1")
	eventually(t, "the program has ended", func() bool {
		return starts(dir+"/count") == 1 && len(childrenOf(p.W())) == 0
	})
	p.rotate(vault, "new")
	p.line("env VALUE=new")
	if n := p.out.count("env VALUE=1"); n > 2 { // a pause may end before the change is seen
		t.Errorf("%d starts with the old value", n)
	}
}

// R7: the program crashes at the instant at which a rotation stops it. Each new value must meet exactly one new
// program, and W must live: the end of an old generation is never W's own.
func TestR7(t *testing.T) {
	t.Parallel()
	rounds := 60
	if soak() {
		rounds = 1000
	}
	vault, diary := newVault(t), filepath.Join(tempDir(t), "diary")
	p := start(t, command{
		flags: rotating("--restart", "no"),
		args:  program("append="+diary, "on=TERM", "{", "die=SEGV", "}", "env=VALUE", "wait"), env: vault.env(),
	})
	p.line("env VALUE=1")
	for i := range rounds {
		p.rotate(vault, fmt.Sprint("v", i))
		p.line(fmt.Sprint("env VALUE=v", i))
		if n := len(childrenOf(p.W())); n > 2 {
			t.Fatalf("%d programs", n)
		}
	}
	text, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		seen[strings.Fields(line)[1]]++
	}
	for i := range rounds {
		if value := fmt.Sprint("v", i); seen[value] != 1 {
			t.Errorf("%s met %d programs, want one", value, seen[value])
		}
	}
}

func TestR9(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	copied := filepath.Join(dir, "program")
	text, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	write(t, copied, string(text), 0o755)
	p := start(t, command{
		flags: append([]string{"--restart", "always", "--restart-limit", "3"}, fastRestart...),
		args:  []string{copied, "say=up", "waitfile=" + gate(t), "exit=1"},
	})
	p.line("up")
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	open(t)
	expectEnd(t, p, 127)
}

// R10: all hundred changes come while the program is on its way out for the first of them, so that the number of
// restarts does not depend on anybody's speed.
func TestR10(t *testing.T) {
	t.Parallel()
	vault, diary := newVault(t), filepath.Join(tempDir(t), "diary")
	p := start(t, command{
		flags: rotating("--quiet", "2s"),
		args:  program("append="+diary, "on=TERM", "{", "say=leaving", "waitfile="+gate(t), "exit=0", "}", "env=VALUE", "wait"), env: vault.env(),
	})
	p.line("env VALUE=1")
	p.rotate(vault, "first")
	p.line("leaving")
	for i := range 100 {
		p.rotate(vault, fmt.Sprint("v", i))
		p.read(vault)
	}
	p.read(vault) // an answer to v99 has then come for certain
	open(t)
	p.line("env VALUE=v99")
	text, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n") - 1; n > 2 {
		t.Errorf("%d restarts for 101 changes, want at most 2:\n%s", n, text)
	}
}

// read makes W read its secret and waits until it has asked for it.
func (p *process) read(vault *scripted) {
	p.t.Helper()
	before := vault.reads()
	eventually(p.t, "W reads the secret", func() bool {
		p.signal(refreshNow)
		return vault.reads() > before
	})
}

func TestR11(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	file := filepath.Join(tempDir(t), "value")
	p := start(t, command{
		flags: []string{
			"--file", file + "=secret/data/app#value", "--refresh-signal", "PWR", "--quiet", "10ms", "--on-change", "signal:USR1",
		},
		args: program("trap=HUP,USR2,TERM", "on=USR1", "{", "saypid=pid", "cat="+file, "}", "saypid=first", "cat="+file, "wait"),
		env:  vault.env(),
	})
	first := p.line("first ")
	p.line("cat 1")
	for i := 2; i < 6; i++ {
		p.rotate(vault, i)
		if pid := p.line("pid "); pid != first {
			t.Errorf("pid changed from %s to %s", first, pid)
		}
		p.line(fmt.Sprint("cat ", i))
	}
	if got := signalLines(p); len(got) != 0 {
		t.Errorf("other signals came: %v", got)
	}
	if n := len(slices.DeleteFunc(p.out.all(), func(line string) bool { return !strings.HasPrefix(line, "pid ") })); n != 4 {
		t.Errorf("%d signals for 4 changes", n)
	}
}

func TestR12(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	p := start(t, command{
		flags: rotating("--splay", "100h"), env: vault.env(),
		args: program("on=TERM", "{", "exit=0", "}", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	before := vault.requests()
	p.rotate(vault, "new")
	eventually(t, "the change was read", func() bool { return vault.requests() > before })
	p.signal(syscall.SIGTERM)
	expectEnd(t, p, 0)
}

// R13: the kernel refuses to fork for a while. The user of this test has no other process.
func TestR13(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, c := range []struct {
		name, option string
		uid          uint32
	}{{"EAGAIN", "--nproc", 61001}, {"EMFILE", "--nofile", 61002}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vault := newVault(t)
			p := start(t, command{
				flags: rotating("--restart", "on-failure", "--restart-limit", "0", "--restart-min-backoff", "100ms", "--restart-max-backoff", "200ms"),
				args:  program("on=TERM", "{", "say=term", "waitfile="+gate(t), "exit=0", "}", "env=VALUE", "wait"), env: vault.env(),
				attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}},
			})
			p.line("env VALUE=1")
			w := p.W()
			p.rotate(vault, "new")
			p.line("term") // the new value is read, the old program about to end
			prlimit(t, w, c.uid, c.option+"=1:")
			open(t)
			eventually(t, "the failure is reported", func() bool {
				text := p.err.text()
				return strings.Contains(text, "resource temporarily unavailable") || strings.Contains(text, "too many open files")
			})
			prlimit(t, w, c.uid, c.option+"=1000:")
			p.line("env VALUE=new")
			if !p.running() {
				t.Error("W ended")
			}
		})
	}
}

// prlimit changes a soft limit of another process, as its own user: root here may lack the right.
func prlimit(t testing.TB, pid int, uid uint32, option string) {
	t.Helper()
	cmd := exec.Command("prlimit", "--pid", strconv.Itoa(pid), option) //nolint:gosec // fixed words
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
}
