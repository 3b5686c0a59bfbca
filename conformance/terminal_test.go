//go:build linux

package conformance

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestT1(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	p := s.on(command{args: []string{"tac"}})
	eventually(t, "tac owns the terminal", func() bool { return foregroundIs(p, "tac") })
	s.write("one\rtwo\rthree\r\x04")
	s.expect("three\r\ntwo\r\none\r\n")
	expectEnd(t, p, 0)
}

// foregroundIs reports whether the terminal's foreground group is led by a program of that name.
func foregroundIs(p *process, program string) bool {
	fields := stat(p.W())
	if len(fields) < 6 {
		return false
	}
	group, _ := strconv.Atoi(fields[5])
	return comm(group) == program
}

func TestT2(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	p := s.on(command{args: []string{"/bin/bash", "--norc", "--noprofile", "-i"}, env: []string{"PS1=prompt> "}})
	s.expect("prompt> ")
	s.write("echo flags=$-.\r")
	s.expect("flags=h")
	s.write("case $- in *m*) echo has-job-cont\"\"rol;; esac\r")
	s.expect("has-job-control")
	if strings.Contains(s.all(), "no job control") {
		t.Error("bash has no job control")
	}
	s.write("exit 3\r")
	expectEnd(t, p, 3)
}

func TestT3(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	p := s.on(command{args: program("trap=INT", "on=USR1", "{", "say=got-usr1", "exit=9", "}", "say=ready", "wait")})
	s.expect("ready")
	s.write("\x03")
	s.expect("signal INT")
	p.signal(syscall.SIGUSR1)
	s.expect("got-usr1")
	if n := strings.Count(s.all(), "signal INT"); n != 1 {
		t.Errorf("Ctrl-C came %d times", n)
	}
	expectEnd(t, p, 9)
}

func TestT4(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	s.bash()
	s.write("$W -- $F say=up lines say=finished exit=0; echo code=$?.\r")
	s.expect("up\r\n")
	s.write("\x1a")
	s.expect("Stopped")
	s.expect("$ ")
	s.write("echo usa\"\"ble\r")
	s.expect("usable")
	s.write("fg\r")
	s.expect("fg\r\n")
	s.write("hello\r")
	s.expect("line hello")
	s.write("\x04")
	s.expect("finished")
	s.write("\recho al\"\"ive\r")
	s.expect("alive")
}

func TestT5(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	bash := s.bash()
	s.write("$W -- $F say=back\"\"ground sleep=60s &\r")
	s.expect("background")
	s.write("echo answ\"\"er\r")
	s.expect("answer")
	if !foregroundIs(bash, "bash") {
		t.Error("the program in the background took the terminal")
	}
}

func TestT6(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	s.bash()
	s.write("stty tostop; $W --log-level trace -- $F trap=USR1 'on=TERM' { exit=5 } say=up wait; echo code=$?.\r")
	s.expect("up\r\n")
	w := 0
	eventually(t, "W runs", func() bool {
		for _, pid := range allPids() {
			if isOn(s, pid) {
				w = pid
				return true
			}
		}
		return false
	})
	for range 5 { // each is logged
		_ = syscall.Kill(w, syscall.SIGUSR1)
		s.expect("signal USR1")
		if state := stateOf(w); state == "T" {
			t.Fatal("W was stopped by its own log")
		}
	}
	_ = syscall.Kill(w, syscall.SIGTERM)
	s.expect("code=5.")
}

func terminalOf(pid int) string {
	if fields := stat(pid); len(fields) > 4 {
		return fields[4]
	}
	return ""
}

// isOn reports whether a process is the envexec on this screen.
func isOn(s *screen, pid int) bool {
	info, err := s.slave.Stat()
	if err != nil || comm(pid) != "envexec" {
		return false
	}
	device, _ := info.Sys().(*syscall.Stat_t)
	minor := device.Rdev&0xff | (device.Rdev>>12)&^0xff
	major := (device.Rdev >> 8) & 0xfff
	return terminalOf(pid) == strconv.FormatUint(major<<8|minor&0xff|(minor&^0xff)<<12, 10)
}

func TestT7(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	s.bash()
	s.write("stty -a >/dev/null; cat\r")
	s.expect("cat\r\n")
	before := s.modes()
	s.write("\x04")
	s.expect("$ ")
	s.write("$W -- $F say=done; read -p 'your wo\"\"rd? ' x; echo got=$x.\r")
	s.expect("done\r\n")
	s.expect("your wo")
	s.write("hello\r")
	s.expect("got=hello.")
	s.expect("$ ")
	s.write("cat\r")
	s.expect("cat\r\n")
	if after := s.modes(); after != before {
		t.Errorf("terminal modes changed from %+v to %+v", before, after)
	}
}

func TestT8(t *testing.T) {
	t.Parallel()
	s, vault := newScreen(t), newVault(t)
	p := s.on(command{
		flags: rotating(),
		args:  program("dump", "env=VALUE", "wait"), env: vault.env(),
	})
	first := s.dump()
	s.expect("env VALUE=1")
	p.rotate(vault, "two")
	second := s.dump()
	s.expect("env VALUE=two")
	for _, r := range []report{first, second} {
		if r.Tpgid != r.Pgid || r.Pgid != r.Pid {
			t.Errorf("foreground group %d, program's group %d, pid %d", r.Tpgid, r.Pgid, r.Pid)
		}
	}
	if first.Pid == second.Pid {
		t.Error("not restarted")
	}
}

func TestT9(t *testing.T) {
	t.Parallel()
	s := newScreen(t)
	s.on(command{args: program("on=WINCH", "{", "winsize", "}", "say=ready", "wait")})
	s.expect("ready")
	s.resize(101, 43)
	s.expect("winsize 101x43")
}

func TestT10(t *testing.T) {
	t.Parallel()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // only read
	for name, stdin := range map[string]*os.File{"pipe": openPipe(t), "null": null} {
		t.Run(name, func(t *testing.T) {
			p := start(t, command{
				flags: []string{"--log-level", "warn"}, args: program("say=ran"), stdin: stdin, attr: &syscall.SysProcAttr{Setsid: true},
			})
			p.line("ran")
			expectEnd(t, p, 0)
			<-p.err.finished
			if p.err.text() != "" {
				t.Errorf("stderr: %s", p.err.text())
			}
		})
	}
}

func TestT11(t *testing.T) {
	t.Parallel()
	t.Run("default", func(t *testing.T) {
		s := newScreen(t)
		p := s.on(command{args: program("say=ready", "wait")})
		s.expect("ready")
		hangUp(s)
		if got := p.wait(); got.status() != 129 {
			t.Errorf("W ended with %v, want 129 or death by HUP", got)
		}
	})
	t.Run("handled", func(t *testing.T) {
		s, mark := newScreen(t), gate(t)
		p := s.on(command{args: program("on=HUP", "{", "append="+mark, "exit=6", "}", "say=ready", "wait")})
		s.expect("ready")
		hangUp(s)
		expectEnd(t, p, 6)
		if _, err := os.Stat(mark); err != nil {
			t.Error("the program saw no HUP")
		}
	})
}

// hangUp closes the terminal as a lost connection does.
func hangUp(s *screen) {
	_ = s.slave.Close()
	_ = s.master.Close()
}

// T12 on a terminal of Docker's: the client's own pseudo terminal is ours.
func TestT12(t *testing.T) {
	t.Parallel()
	inPlaces(t, "docker", func(t *testing.T, at place) {
		run, ok := at.(interface {
			interactive(t testing.TB, args ...string) []string
		})
		if !ok {
			t.Fatal("this place has no terminal")
		}
		s := newScreen(t)
		p := s.on(command{under: none, args: run.interactive(t, "say=ready", "lines", "exit=0")})
		s.expect("ready")
		s.write("hello\r")
		s.expect("line hello")
		s.write("\x04")
		expectEnd(t, p, 0)

		s = newScreen(t)
		p = s.on(command{under: none, args: run.interactive(t, "say=ready", "wait")})
		s.expect("ready")
		s.write("\x03")
		if got := p.wait(); got.status() != 130 {
			t.Errorf("Ctrl-C ended with %v, want 130", got)
		}
	})
}
