//go:build unix

package supervise

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/envexec/envexec/internal/systemd"
)

// TestExecBecomesTheProgram: same process, our caller's environment and nothing of ours.
func TestExecBecomesTheProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{childVariable + "=exec", "PATH=/usr/bin:/bin", "LISTEN_FDS=1", "NOTIFY_SOCKET=@x"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strconv.Itoa(cmd.Process.Pid) + " 1 @x /"; strings.TrimSpace(string(out)) != want {
		t.Errorf("the program says %q, want %q", out, want)
	}
}

func TestExecFails(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("\x00"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command Command
		code    int
	}{
		"nothing":      {Command{}, 127},
		"missing":      {Command{Args: []string{"missing"}, Path: dir}, 127},
		"no directory": {Command{Args: []string{"/bin/sh"}, Dir: filepath.Join(dir, "missing")}, 126},
	} {
		var se *StartError
		if _, err := Exec(c.command, nil); !errors.As(err, &se) || se.Code != c.code {
			t.Errorf("%s: %v, want code %d", name, err, c.code)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{childVariable + "=exec-fails " + bad}
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 126 {
		t.Errorf("not a program: %v, want code 126", err)
	}
}

// TestPassedSocketsAreAdopted: one is the program's by name, one comes along.
func TestPassedSocketsAreAdopted(t *testing.T) {
	passed := func(name string) systemd.Socket {
		h, err := openSocket(Socket{Name: name, Network: "tcp", Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return systemd.Socket{FD: h.fd, Name: name}
	}
	file := filepath.Join(t.TempDir(), "out")
	tr := begin(t, func(c *Config) {
		c.Manager.Sockets = []systemd.Socket{passed("stored"), passed("web")}
		c.Sockets = []Socket{{Name: "web", Network: "unix", Address: "/nonexistent/never/opened"}}
	})
	tr.does("listen " + file).ends(Status{})
	got, err := os.ReadFile(file)
	if want := "pid-ok=true web=true/<nil>/nonblock=true stored=true/<nil>/nonblock=true"; err != nil || string(got) != want {
		t.Errorf("the program sees %q, %v", got, err)
	}
}

func TestEnvironmentOfAProgram(t *testing.T) {
	s := &Supervisor{path: "/usr/sbin/nginx", sockets: []held{{name: "a"}, {name: "b"}}}
	s.cfg.KeepEnv = []string{"CREDENTIALS_DIRECTORY", "LISTEN_FDS"}
	env := s.environment(Generation{Env: []string{
		"A=1", "LISTEN_PID=7", "LISTEN_FDS=9", "WATCHDOG_PID=7", "SYSTEMD_EXEC_PID=7", "NOTIFY_SOCKET=/run/x",
		"CREDENTIALS_DIRECTORY=/c", "ENVEXEC_GENERATION=7", "LISTEN_FDS_NOT=1", "Z=2",
	}}, &running{child: 3})
	want := "A=1 CREDENTIALS_DIRECTORY=/c LISTEN_FDS_NOT=1 Z=2 ENVEXEC_GENERATION=3 LISTEN_FDS=2 LISTEN_FDNAMES=a:b NGINX=3;4;"
	if got := strings.Join(env, " "); got != want {
		t.Errorf("environment\n%s, want\n%s", got, want)
	}
}

func TestCatch(t *testing.T) {
	s := Catch(func(string) string { return "" })
	defer s.Release()
	<-s.all // what asks to stop is caught at once, the rest beside the login
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		if got := <-s.rest; got != sig {
			t.Errorf("caught %v, want %v", got, sig)
		}
	}
	taken := make(chan struct{}, 1)
	var got syscall.Signal
	done := make(chan struct{})
	go func() {
		defer close(done)
		got = s.WaitTaking(t.Context(), map[syscall.Signal]func(){syscall.SIGHUP: func() { taken <- struct{}{} }})
	}()
	send := func(sig syscall.Signal) {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	send(syscall.SIGHUP)
	<-taken
	send(syscall.SIGWINCH) // nobody's business
	send(syscall.SIGTERM)
	if <-done; got != syscall.SIGTERM {
		t.Errorf("Wait returns %v", got)
	}
}

// TestLast: a stop that nobody has taken yet is found by who is about to become the program. In a process of its own: it
// takes our signals away.
func TestLast(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{childVariable + "=last"}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
