//go:build linux

package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// notified starts W with a service manager's socket of ours.
func notified(t testing.TB, c command) (*process, *notifySocket) {
	t.Helper()
	socket := newNotifySocket(t)
	c.env = append(c.env, "NOTIFY_SOCKET="+socket.path)
	return start(t, c), socket
}

func TestN1(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		p, socket := notified(t, command{
			flags: []string{"--ready", "notify"}, args: program("say=up", "waitfile="+gate(t), "notify=READY=1", "wait"),
		})
		p.line("up")
		if socket.count("READY=1") != 0 {
			t.Error("ready before the program is")
		}
		open(t)
		socket.expect("READY=1")
	})
	if systemdCase.n1 != nil {
		t.Run("systemd", systemdCase.n1)
	}
}

func TestN2(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		p, socket := notified(t, command{args: program("say=up", "wait")})
		p.line("up")
		socket.expect("READY=1")
	})
	if systemdCase.n2 != nil {
		t.Run("systemd", systemdCase.n2)
	}
}

func TestN3(t *testing.T) {
	t.Parallel()
	p, socket := notified(t, command{args: program(
		"notify=MAINPID=1", "notify=STOPPING=1", "notify=NOTIFYACCESS=all", "notify=MAINPID=1,STATUS=hello", "say=sent", "wait")})
	p.line("sent")
	eventually(t, "the program's status is forwarded", func() bool {
		return slices.ContainsFunc(socket.lines(), func(line string) bool {
			return strings.HasPrefix(line, "STATUS=") && strings.HasSuffix(line, "hello")
		})
	})
	for _, kept := range []string{"MAINPID", "STOPPING", "NOTIFYACCESS"} {
		if socket.count(kept) != 0 {
			t.Errorf("%s was forwarded", kept)
		}
	}
}

func TestN4(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	p, socket := notified(t, command{
		flags: overlapping(freePort(t), "--refresh", "50ms"), env: vault.env(), // by the clock: a refresh signal is a reload of W's own
		args: program("on=TERM", "{", "notify=READY=1", "notify=RELOADING=1", "notify=STOPPING=1", "notify=STATUS=old", "barrier",
			"say=sent", "exit=0", "}", "notify=READY=1", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	socket.expect("READY=1")
	vault.set("new")
	p.line("sent")
	if socket.count("READY=1") != 1 || socket.count("RELOADING") != 0 || socket.count("STOPPING") != 0 {
		t.Errorf("the manager heard %q", socket.lines())
	}
}

func TestN6(t *testing.T) {
	t.Parallel()
	p, socket := notified(t, command{args: program("on=TERM", "{", "say=term", "exit=0", "}", "say=up", "wait")})
	p.line("up")
	socket.expect("READY=1")
	socket.expect("STATUS=ready") // the last there is to say until something happens
	before := len(socket.all())
	p.signal(syscall.SIGTERM)
	p.wait()
	socket.expect("STOPPING=1")
	after := socket.all()[before:]
	if socket.count("STOPPING=1") != 1 || !strings.Contains(after[0].text, "STOPPING=1") {
		t.Errorf("after TERM the manager heard %+v", after)
	}
}

func TestN7(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		_, socket := notified(t, command{
			flags: rotating(), args: program("wait"), env: []string{"VAULT_ADDR=http://" + freePort(t), "VAULT_TOKEN=x"},
		})
		socket.expect("EXTEND_TIMEOUT_USEC=")
		if socket.count("READY=1") != 0 {
			t.Error("ready without Vault")
		}
	})
	if systemdCase.n7 != nil {
		t.Run("systemd", systemdCase.n7)
	}
}

func TestN8(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		p, socket := notified(t, command{
			before: []string{"/bin/sh", "-c", `WATCHDOG_USEC=400000 WATCHDOG_PID=$$ exec "$@"`, "sh"},
			args:   program("env=WATCHDOG_PID", "env=WATCHDOG_USEC", "wait"),
		})
		if pid := p.line("env WATCHDOG_PID="); pid != "" {
			t.Errorf("WATCHDOG_PID=%s reached the program", pid)
		}
		if span := p.line("env WATCHDOG_USEC="); span != "400000" {
			t.Errorf("WATCHDOG_USEC=%q in the program", span)
		}
		eventually(t, "W pings for a program that does not", func() bool { return socket.count("WATCHDOG=1") > 2 })
	})
	if systemdCase.n8 != nil {
		t.Run("systemd", systemdCase.n8)
	}
}

func TestN9(t *testing.T) {
	t.Parallel()
	t.Run("path", func(t *testing.T) {
		_, socket := notified(t, command{args: program("wait")})
		socket.expect("READY=1")
	})
	t.Run("abstract", func(t *testing.T) {
		socket := newNotifySocketAt(t, fmt.Sprintf("@conformance-%d", os.Getpid()))
		start(t, command{args: program("wait"), env: []string{"NOTIFY_SOCKET=" + socket.path}})
		socket.expect("READY=1")
	})
	t.Run("missing", func(t *testing.T) {
		p := start(t, command{args: program("say=ran", "exit=3"), env: []string{"NOTIFY_SOCKET=/nonexistent/notify"}})
		p.line("ran")
		expectEnd(t, p, 3)
	})
	t.Run("full", func(t *testing.T) {
		path := tempDir(t) + "/full"
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd) //nolint:errcheck // never read
		sender, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(sender) //nolint:errcheck // only a filler
		for unix.Sendto(sender, []byte("X_FILL=1"), 0, &unix.SockaddrUnix{Name: path}) == nil {
		}
		p := start(t, command{args: program("trap=USR1", "on=TERM", "{", "exit=3", "}", "say=ran", "wait"), env: []string{"NOTIFY_SOCKET=" + path}})
		p.line("ran")
		p.signal(syscall.SIGUSR1)
		p.line("signal USR1")
		p.signal(syscall.SIGTERM)
		expectEnd(t, p, 3)
	})
}

func TestN10(t *testing.T) {
	t.Parallel()
	p, socket := notified(t, command{args: program("notify=STATUS=before-barrier", "barrier", "waitfile="+gate(t))})
	p.line("barrier EOF")
	socket.mark() // whoever reads the socket may be behind; the order tells
	if !slices.ContainsFunc(socket.lines(), func(line string) bool { return strings.HasSuffix(line, "before-barrier") }) {
		t.Errorf("the barrier returned before the message was forwarded: %q", socket.lines())
	}
	open(t)
}

func TestN11(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		_, socket := notified(t, command{flags: []string{"--listen", "web=tcp://" + freePort(t)}, args: program("wait")})
		message := socket.expect("FDSTORE=1")
		if len(message.fds) != 1 || !strings.Contains(message.text, "FDNAME=web") {
			t.Errorf("stored %q with descriptors %v", message.text, message.fds)
		}
		for _, fd := range message.fds {
			_ = unix.Close(fd)
		}
	})
	if systemdCase.n11 != nil {
		t.Run("systemd", systemdCase.n11)
	}
}

func TestN12(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		l := listener(t)
		p := start(t, command{
			before: []string{"/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$@"`, "sh"},
			files:  []*os.File{l.file}, args: program("http", "say=up", "wait"),
		})
		p.line("up")
		if pid, _ := asked(t, "tcp", l.address); pid == 0 {
			t.Error("the program does not serve")
		}
	})
	if systemdCase.n12 != nil {
		t.Run("systemd", systemdCase.n12)
	}
}

// systemdCase holds what only a real systemd can show, in the build that has one.
var systemdCase struct{ n1, n2, n7, n8, n11, n12 func(*testing.T) }
