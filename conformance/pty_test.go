//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// screen is the far side of a pseudo terminal: what a person sees and types.
type screen struct {
	t      testing.TB
	master *os.File
	slave  *os.File

	mu    sync.Mutex
	text  string
	taken int
	ended chan struct{}
}

// newScreen opens a pseudo terminal of 80x24.
func newScreen(t testing.TB) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require(t, "pty", err)
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	require(t, "pty", err)
	slave, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require(t, "pty", err)
	// Fd made the master blocking; a dup on the poller lets Close interrupt the reader.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	require(t, "pty", err)
	_ = master.Close()
	s := &screen{t: t, master: os.NewFile(uintptr(fd), "master"), slave: slave, ended: make(chan struct{})}
	s.resize(80, 24)
	go s.read()
	t.Cleanup(func() { _ = s.slave.Close(); _ = s.master.Close(); <-s.ended })
	return s
}

func (s *screen) read() {
	defer close(s.ended)
	buffer := make([]byte, 4096)
	for {
		n, err := s.master.Read(buffer)
		s.mu.Lock()
		s.text += string(buffer[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) resize(columns, rows uint16) {
	s.t.Helper()
	conn, err := s.master.SyscallConn()
	if err == nil {
		_ = conn.Control(func(fd uintptr) {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// on starts a command as the leader of a session that has this terminal.
func (s *screen) on(c command) *process {
	s.t.Helper()
	c.stdin, c.stdout, c.stderr = s.slave, s.slave, s.slave
	c.attr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	p := start(s.t, c)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("screen:\n%s", s.all())
		}
	})
	return p
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func (s *screen) write(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits for a text after what was already taken.
func (s *screen) expect(text string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%q on the screen", text), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := strings.Index(s.text[s.taken:], text)
		if at < 0 {
			return false
		}
		s.taken += at + len(text)
		return true
	})
}

// dump reads the fixture's next report from the screen.
func (s *screen) dump() (r report) {
	s.t.Helper()
	s.expect("dump {")
	eventually(s.t, "the whole report", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		line, _, whole := strings.Cut(s.text[s.taken:], "\r\n")
		if !whole {
			return false
		}
		s.taken += len(line)
		if err := json.Unmarshal([]byte("{"+line), &r); err != nil {
			s.t.Fatal(err)
		}
		return true
	})
	return r
}

// modes are the terminal's settings.
func (s *screen) modes() unix.Termios {
	s.t.Helper()
	modes, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *modes
}

// bash starts an interactive shell that runs W from its command line.
func (s *screen) bash() *process {
	s.t.Helper()
	p := s.on(command{
		under: none, args: []string{"/bin/bash", "--norc", "--noprofile", "-i"},
		env: []string{"PS1=prompt> ", "W=" + binary, "F=" + fixture, "HISTFILE=", "INPUTRC=/dev/null"},
	})
	s.expect("prompt> ")
	s.write("bind 'set enable-bracketed-paste off' 2>/dev/null; PS1='$ '\r")
	s.expect("\n$ ")
	return p
}
