//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestI1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.WriteString("exit 7\n")
		_ = w.Close()
		defer r.Close() //nolint:errcheck // only read
		expectEnd(t, start(t, command{place: at, args: []string{"sh"}, stdin: r}), 7)
	})
}

func TestI2(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"} {
		t.Run(closed, func(t *testing.T) {
			report := filepath.Join(tempDir(t), "report")
			look := fmt.Sprintf("ls -l /proc/$$/fd | sed 's/.* \\([0-9]* -> .*\\)/\\1/' >%s 2>/dev/null </dev/null", report)
			p := start(t, command{
				before: []string{"/bin/sh", "-c", `exec "$@" ` + closed, "sh"}, args: []string{"/bin/sh", "-c", look},
			})
			p.wait()
			text, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			// A Go program, W too, gets the null device where a descriptor was closed; the program inherits that.
			for line := range strings.Lines(string(text)) {
				fd, target, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				if strings.Contains(closed, fd+"<") || strings.Contains(closed, fd+">") {
					if target != "/dev/null" {
						t.Errorf("closed descriptor %s is %s in the program", fd, target)
					}
				}
			}
		})
	}
}

func TestI3(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		held, err := os.Open("/etc/hostname")
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close() //nolint:errcheck // only read
		list := func(under parent) map[int]string {
			p := start(t, command{
				place: at, under: under, files: []*os.File{held, held, held, held, held}, // 3 to 7
				args: program("dump"),
			})
			fds := p.dump().FDs
			p.wait()
			for fd, target := range fds {
				if strings.HasPrefix(target, "pipe:") { // another pipe each time
					fds[fd] = "pipe"
				}
			}
			return fds
		}
		want, got := list(none), list(envexec)
		if got[7] != "/etc/hostname" || !maps.Equal(got, want) {
			t.Errorf("program has descriptors %v, without a wrapper %v", got, want)
		}
	})
}

func TestI4(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		dir := tempDir(t)
		p := start(t, command{place: at, dir: dir, args: program("dump", "wait")})
		if r := p.dump(); r.Cwd != dir {
			t.Errorf("program is in %s, want %s", r.Cwd, dir)
		}
		eventually(t, "W is in the root directory", func() bool {
			cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.W()))
			return cwd == "/"
		})
	})
}

// I5 compares what the kernel holds for the program with a run without a wrapper; /bin/cat changes nothing itself.
func TestI5(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		look := func(under parent) []string {
			p := start(t, command{
				place: at, under: under,
				before: []string{"/bin/sh", "-c", `umask 027; ulimit -Sn 777; ulimit -Hn 4000; echo 123 >/proc/self/oom_score_adj
					exec nice -n 3 "$@"`, "sh"},
				args: []string{"/bin/sh", "-c", `cat /proc/self/limits /proc/self/oom_score_adj; nice; umask
					exec grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Umask)' /proc/self/status`},
			})
			p.wait()
			<-p.out.finished
			return p.out.all()
		}
		want, got := look(none), look(envexec)
		if len(want) < 20 || !slices.Equal(got, want) {
			t.Errorf("under W:\n%s\nwithout:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		var limit bool
		for _, line := range got {
			limit = limit || strings.HasPrefix(line, "Max open files") && strings.Fields(line)[3] == "777"
		}
		if !limit {
			t.Error("the soft limit of open files was not restored")
		}
	})
}

func TestI6(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	control := []string{
		"VAULT_ROLE_ID=role-id-text", "VAULT_SECRET_ID_FILE=/nonexistent",
		"ENVEXEC_LOG_LEVEL=warn", "KEEP=kept", "A=1", "Z=26",
	}
	look := func(flags ...string) report {
		flags = append(flags, "--env", "VALUE=secret/data/app#value", "--env", "MORE=secret/data/app#value")
		p := start(t, command{flags: flags, args: program("dump"), env: append(vault.env(), control...)})
		return p.dump()
	}
	first, second := look(), look()
	for _, name := range []string{"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID_FILE", "ENVEXEC_LOG_LEVEL"} {
		if _, set := first.env(name); set {
			t.Errorf("%s reached the program", name)
		}
	}
	for name, want := range map[string]string{"KEEP": "kept", "VALUE": "1", "MORE": "1", "VAULT_ADDR": vault.addr} {
		if got, _ := first.env(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	names := func(r report) (names []string) {
		for _, entry := range r.Env {
			name, _, _ := strings.Cut(entry, "=")
			names = append(names, name)
		}
		return names
	}
	if a, b := names(first), names(second); !slices.Equal(a, b) {
		t.Errorf("order changed:\n%v\n%v", a, b)
	}
	kept := look("--keep-env", "VAULT_TOKEN,VAULT_ROLE_ID")
	if got, _ := kept.env("VAULT_TOKEN"); got != "conformance" {
		t.Errorf("VAULT_TOKEN is %q though kept by name", got)
	}
}

func TestI7(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns docker", func(t *testing.T, at place) {
		want := []string{"a b", "", "--", "-x", "--help", "äöü ☃", "two\nlines", "$HOME", "'", `"`, "%s", "\\"}
		p := start(t, command{place: at, args: append(program("argv"), want...)})
		var got []string
		if err := json.Unmarshal([]byte(p.line("argv ")), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("program got %q, want %q", got, want)
		}
	})
}

func TestI8(t *testing.T) {
	t.Parallel()
	for _, nonblock := range []bool{false, true} {
		t.Run(fmt.Sprint("nonblock=", nonblock), func(t *testing.T) {
			_, w := plainPipe(t)
			in, _ := plainPipe(t)
			flags := func() [2]int { return [2]int{fdFlags(t, in), fdFlags(t, w)} }
			for _, f := range []*os.File{in, w} {
				setNonblock(t, f, nonblock)
			}
			before := flags()
			p := start(t, command{args: []string{"/bin/sleep", "0.3"}, stdin: in, stdout: w})
			eventually(t, "the program runs", func() bool {
				children := childrenOf(p.W())
				return len(children) == 1 && comm(children[0]) == "sleep"
			})
			if during := flags(); during != before {
				t.Errorf("flags while it runs %#o, before %#o", during, before)
			}
			p.wait()
			if after := flags(); after != before {
				t.Errorf("flags after %#o, before %#o", after, before)
			}
		})
	}
}

// plainPipe is a pipe that Go's poller does not know, so that nothing but W can change its flags.
func plainPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(ends[0]), "r"), os.NewFile(uintptr(ends[1]), "w")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// fdFlags reads a description's flags without touching them (File.Fd would).
func fdFlags(t testing.TB, f *os.File) (flags int) {
	t.Helper()
	control(t, f, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	return flags
}

func setNonblock(t testing.TB, f *os.File, on bool) {
	t.Helper()
	control(t, f, func(fd int) error { return unix.SetNonblock(fd, on) })
}

func control(t testing.TB, f *os.File, do func(fd int) error) {
	t.Helper()
	conn, err := f.SyscallConn()
	if err == nil {
		controlErr := conn.Control(func(fd uintptr) { err = do(int(fd)) })
		if err == nil {
			err = controlErr
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestI9(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	vault.set(strings.Repeat("sesame", 40_000)) // over the kernel's 128 KiB for one string
	p := start(t, command{
		flags: []string{"--env", "VALUE=secret/data/app#value"}, args: program("say=started"), env: vault.env(),
	})
	if got := p.wait(); got != (ending{code: 126}) {
		t.Errorf("W ended with %v, want 126", got)
	}
	<-p.err.finished
	text := p.err.text()
	if !strings.Contains(text, "VALUE") || strings.Contains(text, "sesame") || p.out.text() != "" {
		t.Errorf("the message must name VALUE and show no value: %.2000s", text)
	}
}

func TestI10(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	vault.set("open-sesame-text")
	p := start(t, command{
		flags: rotating("--log-level", "trace"),
		args:  program("on=TERM", "{", "exit=0", "}", "env=VALUE", "wait"),
		env:   append(vault.env(), "REFERENCE=vault:secret/data/app#value", "VAULT_SECRET_ID=unused-sesame"),
	})
	p.line("env VALUE=open-sesame-text")
	p.rotate(vault, "other-sesame-text")
	p.line("env VALUE=other-sesame-text")
	for _, name := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.W(), name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "sesame-text") {
			t.Errorf("a secret is in W's %s", name)
		}
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	<-p.err.finished
	if strings.Contains(p.err.text(), "sesame") || p.err.text() == "" {
		t.Errorf("W's log: %s", p.err.text())
	}
}
