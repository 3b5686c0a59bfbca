//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSocketsArePassed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	file := filepath.Join(t.TempDir(), "out")
	tr := begin(t, func(c *Config) {
		c.Sockets = []Socket{{Name: "web", Network: "tcp", Address: "127.0.0.1:0"}, {Name: "local", Network: "unix", Address: path, Mode: 0o640}}
	})
	tr.does("listen "+file, "LISTEN_PID=1", "LISTEN_FDS=9").ends(Status{})
	got, err := os.ReadFile(file)
	if want := "pid-ok=true web=true/<nil>/nonblock=true local=true/<nil>/nonblock=true"; err != nil || string(got) != want {
		t.Errorf("the program sees %q, %v", got, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's path is still there: %v", err)
	}
}

func TestSocketThatCannotBind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	sup, err := New(Config{Command: []string{"/bin/sh"}, Sockets: []Socket{{Name: "web", Network: "tcp", Address: l.Addr().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sup.Listen(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "web") {
		t.Errorf("Listen returns %v", err)
	}
}

func TestUnixSocketPath(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) (held, error) {
		return openSocket(Socket{Name: "s", Network: "unix", Address: filepath.Join(dir, name), Mode: 0o620})
	}
	first, err := open("s")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "s")); err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := open("s"); err == nil {
		t.Error("a socket somebody listens on was taken away")
	}
	_ = unix.Close(first.fd) // its owner died, the file stayed
	second, err := open("s")
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	closeSocket(second)
}

func TestReadiness(t *testing.T) {
	http200 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Gen", "1") }))
	defer http200.Close()
	for name, c := range map[string]struct {
		ready Ready
		does  string
	}{
		"notify": {Ready{Kind: ReadyNotify}, "ready notify STATUS=up,READY=1"},
		"fd":     {Ready{Kind: ReadyFD, FD: 7}, "ready fd 7"},
		"exec":   {Ready{Kind: ReadyExec, Command: []string{"/bin/sh", "-c", `test "$ENVEXEC_GENERATION" = 1 && kill -0 "$ENVEXEC_PID"`}}, "ready never"},
		"tcp":    {Ready{Kind: ReadyTCP, Address: http200.Listener.Addr().String()}, "ready never"},
		"http":   {Ready{Kind: ReadyHTTP, Address: http200.URL, Header: "X-Gen"}, "ready never"},
		"delay":  {Ready{Kind: ReadyDelay, Delay: time.Millisecond}, "ready never"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.ready.Kind == ReadyNotify && !hasNotify {
				t.Skip("sd_notify is only on Linux")
			}
			tr := begin(t, func(cfg *Config) { cfg.Ready = c.ready })
			tr.does(c.does).reaches("starting").reaches("ready")
			tr.stops()
		})
	}
}

func TestNotReadyInTime(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Gen", "2") }))
	defer other.Close()
	for name, ready := range map[string]Ready{
		"fd":   {Kind: ReadyFD, FD: 3},
		"exec": {Kind: ReadyExec, Command: []string{"/bin/false"}},
		"http": {Kind: ReadyHTTP, Address: other.URL, Header: "X-Gen"},
	} {
		t.Run(name, func(t *testing.T) {
			ready.Timeout, ready.Every = 200*time.Millisecond, 20*time.Millisecond
			tr := begin(t, func(cfg *Config) { cfg.Ready = ready }).does("ready never")
			if got := <-tr.result; !errors.Is(got.err, ErrNotReady) {
				t.Errorf("Run returns %v", got.err)
			}
		})
	}
}

func TestOverlapWithHeldSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web")
	tr := begin(t, func(c *Config) {
		c.OnChange = Overlap
		c.Sockets = []Socket{{Name: "web", Network: "unix", Address: path}}
		c.Ready = Ready{Kind: ReadyDelay, Delay: 50 * time.Millisecond}
	})
	tr.does("serve").reaches("ready")
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	ask := func() string {
		resp, err := client.Get("http://web/")
		if err != nil {
			t.Fatalf("a request failed: %v", err)
		}
		_ = resp.Body.Close()
		return resp.Header.Get("X-Generation")
	}
	if got := ask(); got != "1" {
		t.Errorf("generation %q answers", got)
	}
	tr.does("serve").reaches("rotating").reaches("ready")
	deadline := time.Now().Add(10 * time.Second)
	for ask() != "2" {
		if time.Now().After(deadline) {
			t.Fatal("the successor never answers")
		}
	}
	tr.stops()
}

func TestHundredSocketsAndAReadinessPipeBehindThem(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "out")
	var sockets []Socket
	want := "pid-ok=true"
	for i := range 100 {
		name := fmt.Sprintf("s%d", i)
		sockets = append(sockets, Socket{Name: name, Network: "unix", Address: filepath.Join(dir, name)})
		want += " " + name + "=true/<nil>/nonblock=true"
	}
	adjust := func(c *Config) {
		c.Sockets = sockets
		c.Ready = Ready{Kind: ReadyFD, FD: firstFD + len(sockets)}
	}
	begin(t, adjust).does("ready fd 103").reaches("ready").stops()
	begin(t, adjust).does("listen " + file).ends(Status{})
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("the program sees %q, %v", got, err)
	}
}

func TestWantOfDescriptorsIsTransient(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
		var transient transientError
		if err := startError("app", errno); !errors.As(err, &transient) {
			t.Errorf("%v is not tried again", errno)
		}
		if err := shortage(fmt.Errorf("open the readiness pipe: %w", os.NewSyscallError("pipe2", errno))); !errors.As(err, &transient) {
			t.Errorf("%v before the fork is not tried again", errno)
		}
	}
}
