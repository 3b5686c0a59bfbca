//go:build linux

package conformance

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// deadly are the signals of cases E2 and E3.
var deadly = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT,
	syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGPIPE, syscall.SIGTERM,
}

// eachCode runs a function for every exit status, a few at a time.
func eachCode(run func(code int)) {
	var group sync.WaitGroup
	codes := make(chan int)
	for range 4 {
		group.Go(func() {
			for code := range codes {
				run(code)
			}
		})
	}
	for code := range 256 {
		codes <- code
	}
	close(codes)
	group.Wait()
}

func TestE1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain pidns docker", func(t *testing.T, at place) {
		if at.name() == "docker" {
			for _, code := range []int{0, 1, 7, 126, 127, 128, 143, 255} {
				expectCode(t, command{place: at, args: []string{fixture, fmt.Sprint("exit=", code)}}, code)
			}
			return
		}
		eachCode(func(code int) {
			c := command{place: at, args: []string{"/bin/sh", "-c", fmt.Sprint("exit ", code)}}
			if got := quickly(t, c); got != (ending{code: code}) {
				t.Errorf("program ended with %d, W with %v", code, got)
			}
		})
	})
}

// quickly runs a command whose output does not matter.
func quickly(t testing.TB, c command) ending {
	argv := c.place.command(t, envexec.argv(append([]string{"--log-level", "warn"}, c.flags...), c.args), append(cleanEnv(scratch), c.env...))
	out, err := argv.CombinedOutput()
	if argv.ProcessState == nil {
		t.Errorf("run %v: %v", argv.Args, err)
		return ending{}
	}
	status, _ := argv.ProcessState.Sys().(syscall.WaitStatus)
	if len(out) > 0 {
		t.Errorf("%v printed %q", argv.Args, out)
	}
	if status.Signaled() {
		return ending{signal: status.Signal()}
	}
	return ending{code: status.ExitStatus()}
}

func expectCode(t *testing.T, c command, code int) *process {
	t.Helper()
	p := start(t, c)
	if got := p.wait(); got != (ending{code: code}) {
		t.Errorf("%v %v ended with %v, want status %d\n%s", c.flags, c.args, got, code, p.err.text())
	}
	return p
}

func TestE2(t *testing.T) {
	t.Parallel()
	inPlaces(t, "pidns docker", func(t *testing.T, at place) {
		for _, sig := range deadly {
			expectCode(t, command{place: at, args: []string{fixture, fmt.Sprint("die=", int(sig))}}, 128+int(sig))
		}
	})
}

func TestE3(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain", func(t *testing.T, at place) {
		dir := tempDir(t)
		for _, sig := range deadly {
			p := start(t, command{
				place: at, dir: dir, args: []string{fixture, fmt.Sprint("die=", int(sig))},
				before: []string{"/bin/sh", "-c", `ulimit -c unlimited; exec "$@"`, "sh"},
			})
			if got := p.wait(); got.signal != sig || got.core {
				t.Errorf("program died of %v, W ended with %v, core %t", sig, got, got.core)
			}
			if strings.Contains(p.err.text(), "goroutine ") {
				t.Errorf("%v: stack dump:\n%s", sig, p.err.text())
			}
		}
	})
}

func TestE4(t *testing.T) {
	t.Parallel()
	script := filepath.Join(tempDir(t), "script")
	write(t, script, "#!/nonexistent/interpreter\n", 0o755)
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		for _, name := range []string{"/nonexistent/program", "no-such-program-anywhere", script} {
			p := expectCode(t, command{place: at, args: []string{name}}, 127)
			expectOneLine(t, p, name)
		}
	})
}

func TestE5(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	text, garbage := filepath.Join(dir, "text"), filepath.Join(dir, "garbage")
	write(t, text, "hello\n", 0o644)
	write(t, garbage, "\x7fnothing the kernel can run\n", 0o755)
	inPlaces(t, "plain pidns", func(t *testing.T, at place) {
		for _, name := range []string{"/etc", text, garbage} {
			p := expectCode(t, command{place: at, args: []string{name}}, 126)
			expectOneLine(t, p, name)
		}
	})
}

func expectOneLine(t *testing.T, p *process, naming string) {
	t.Helper()
	<-p.err.finished
	if lines := p.err.all(); len(lines) != 1 || !strings.Contains(lines[0], naming) {
		t.Errorf("want one line that names %s, got %q", naming, lines)
	}
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestE6(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	for name, args := range map[string][]string{
		"unknown flag":  {"--no-such-flag", "--", fixture, "say=started"},
		"nothing to do": {},
		"no program":    {"--"},
		"unknown word":  {"fixture", "say=started"},
	} {
		p := start(t, command{under: raw, args: args, env: []string{"VAULT_ADDR=" + vault.addr}})
		if got := p.wait(); got.code != 64 {
			t.Errorf("%s: %v, want status 64", name, got)
		}
		<-p.out.finished
		<-p.err.finished
		if p.err.text() == "" || p.out.text() != "" {
			t.Errorf("%s: stdout %q, stderr %q", name, p.out.text(), p.err.text())
		}
	}
	if n := vault.requests(); n != 0 {
		t.Errorf("%d requests to Vault", n)
	}
}

func TestE7(t *testing.T) {
	t.Parallel()
	eachCode(func(code int) {
		program := []string{"/bin/sh", "-c", fmt.Sprint("exit ", code)}
		same := command{place: plain{}, flags: []string{"--map-exit", fmt.Sprintf("%d=0", code)}, args: program}
		if got := quickly(t, same); got != (ending{}) {
			t.Errorf("%d mapped to 0: %v", code, got)
		}
		other := command{
			place: plain{}, flags: []string{"--map-exit", fmt.Sprintf("%d=0", (code+1)%256)}, args: program,
		}
		if got := quickly(t, other); got != (ending{code: code}) {
			t.Errorf("%d with another one mapped: %v", code, got)
		}
	})
}

func TestE8(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	vault.handle(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"errors":["invalid role or secret ID"]}`, http.StatusBadRequest)
		return true
	})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	file := filepath.Join(tempDir(t), "bad.hcl")
	write(t, file, "vault {\n  adress = \"x\"\n", 0o644)
	program := []string{fixture, "say=started"}
	secret := []string{"--env", "VALUE=secret/data/app#value", "--start-timeout", "500ms"}
	approle := []string{"VAULT_ROLE_ID=r", "VAULT_SECRET_ID=s"}
	texts := map[string]bool{}
	for _, c := range []struct {
		code    int
		command command
	}{
		{77, command{flags: secret, args: program, env: append(approle, "VAULT_ADDR="+vault.addr)}},
		{75, command{flags: secret, args: program, env: append(approle, "VAULT_ADDR=http://"+closed.Addr().String())}},
		{78, command{flags: []string{"--config", file}, args: program}},
	} {
		t.Run(strconv.Itoa(c.code), func(t *testing.T) {
			p := expectCode(t, c.command, c.code)
			lines := p.err.all()
			if len(lines) == 0 || p.out.text() != "" {
				t.Fatalf("stdout %q, stderr %q", p.out.text(), lines)
			}
			if last := lines[len(lines)-1]; texts[last] {
				t.Errorf("the same words as for another failure: %q", last)
			} else {
				texts[last] = true
			}
		})
	}
}

func TestE9(t *testing.T) {
	t.Parallel()
	inPlaces(t, "pidns docker", func(t *testing.T, at place) {
		expectCode(t, command{place: at, args: []string{fixture, "orphans=50:300ms", "exit=9"}}, 9)
	})
}
