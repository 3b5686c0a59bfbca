//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/early"
	"github.com/envexec/envexec/internal/systemd"
)

// childVariable makes the test binary a program to be supervised; its value says what it does.
const childVariable = "SUPERVISE_TEST_CHILD"

// childMain runs the program's part, if this process is one.
func childMain() bool {
	what := os.Getenv(childVariable)
	if what == "" {
		return false
	}
	word, arg, _ := strings.Cut(what, " ")
	switch word {
	case "exit":
		n, _ := strconv.Atoi(arg)
		os.Exit(n)
	case "die":
		n, _ := strconv.Atoi(arg)
		Reraise(syscall.Signal(n))
	case "listen":
		childListen(arg)
	case "ready":
		childReady(arg)
	case "serve":
		childServe()
	case "exec":
		_, _ = Exec(Command{
			Args: []string{"sh", "-c", `echo $$ $LISTEN_FDS $NOTIFY_SOCKET "$PWD"`}, Path: "/usr/bin:/bin", Dir: "/",
			Env: []string{"LISTEN_FDS=" + os.Getenv("LISTEN_FDS"), "NOTIFY_SOCKET=" + os.Getenv("NOTIFY_SOCKET")},
		}, nil)
		os.Exit(1)
	case "exec-fails": // what is tried last takes our signals away, so not in the tests' own process
		var se *StartError
		if _, err := Exec(Command{Args: []string{arg}}, nil); errors.As(err, &se) {
			os.Exit(se.Code)
		}
		os.Exit(1)
	case "last":
		s := Catch(nil)
		came := make(chan os.Signal, 1)
		signal.Notify(came, syscall.SIGINT)
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-came
		if sig := s.last(); sig != syscall.SIGINT {
			os.Exit(1)
		}
		os.Exit(0)
	case "mainthread":
		defer func() {
			if recover() != nil {
				os.Exit(0)
			}
		}()
		refuseMainThread()
		os.Exit(1)
	}
	return true
}

// childListen writes to file what it knows about its sockets.
func childListen(file string) {
	text := fmt.Sprintf("pid-ok=%v", os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()))
	for _, s := range systemd.Read(os.Getenv, os.Getpid()).Sockets {
		sa, err := unix.Getsockname(s.FD)
		flags, _ := unix.FcntlInt(uintptr(s.FD), unix.F_GETFL, 0)
		text += fmt.Sprintf(" %s=%v/%v/nonblock=%v", s.Name, sa != nil, err, flags&unix.O_NONBLOCK != 0)
	}
	_ = os.WriteFile(file, []byte(text), 0o600)
}

// childReady proves readiness as told, then waits to be stopped.
func childReady(how string) {
	stop := early.Caught // TERM may have come before main
	kind, arg, _ := strings.Cut(how, " ")
	switch kind {
	case "notify":
		lines := strings.Split(arg, ",")
		_ = systemd.NewNotifier(os.Getenv("NOTIFY_SOCKET")).Send(nil, lines...)
	case "after": // somebody opens this FIFO
		_, _ = os.ReadFile(arg)
		_ = systemd.NewNotifier(os.Getenv("NOTIFY_SOCKET")).Send(nil, "READY=1")
	case "fd":
		n, _ := strconv.Atoi(arg)
		_, _ = unix.Write(n, []byte("listening\n"))
	case "never":
	}
	<-stop
}

// childServe answers on its socket with its generation.
func childServe() {
	stop := early.Caught // TERM may have come before main
	l, err := net.FileListener(os.NewFile(firstFD, "web"))
	if err != nil {
		os.Exit(9)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Generation", os.Getenv("ENVEXEC_GENERATION"))
	})}
	go func() { _ = srv.Serve(l) }()
	<-stop
	_ = l.Close()
	time.Sleep(100 * time.Millisecond)
}

// trial runs real programs: this test binary.
type trial struct {
	t      *testing.T
	sup    *Supervisor
	gens   chan Generation
	cancel func()
	result chan outcome
	states chan string
	id     uint64
}

func begin(t *testing.T, adjust func(*Config)) *trial {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{t: t, gens: make(chan Generation), result: make(chan outcome, 1), states: make(chan string, 256)}
	cfg := Config{
		Command: []string{self}, NoSubreaper: true, Quiet: -1, MinUptime: -1, tty: fakeTerminal{},
		Trace: Trace{State: func(s string) { tr.states <- s }}, Dir: t.TempDir(),
	}
	if adjust != nil {
		adjust(&cfg)
	}
	if tr.sup, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithCancel(t)
	tr.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		st, err := tr.sup.Run(ctx, tr.gens)
		tr.result <- outcome{st, err}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return tr
}

// does gives the program its next part.
func (tr *trial) does(what string, env ...string) *trial {
	tr.id++
	tr.gens <- Generation{ID: tr.id, Env: append([]string{childVariable + "=" + what}, env...)}
	return tr
}

// reaches waits for a state.
func (tr *trial) reaches(want string) *trial {
	tr.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case s := <-tr.states:
			if s == want {
				return tr
			}
		case <-timeout:
			tr.t.Fatalf("state %s is not reached", want)
		}
	}
}

func (tr *trial) ends(want Status) {
	tr.t.Helper()
	select {
	case got := <-tr.result:
		if got.err != nil || got.status != want {
			tr.t.Errorf("Run returns %v, %v; want %v", got.status, got.err, want)
		}
	case <-time.After(20 * time.Second):
		tr.t.Fatal("Run does not return")
	}
}

// stops ends the program, which may not have come so far as to handle TERM.
func (tr *trial) stops() {
	tr.t.Helper()
	tr.cancel()
	if got := <-tr.result; got.err != nil || !got.status.Success() && got.status != term {
		tr.t.Errorf("Run returns %v, %v", got.status, got.err)
	}
}
