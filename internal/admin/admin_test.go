package admin

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/files"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, reload func(context.Context) error) string {
	t.Helper()
	dir := t.TempDir()
	s, err := New(Config{
		Dir:    dir,
		Status: func() any { return map[string]string{"phase": "running"} },
		Reload: reload, StatusOf: func(error) int { return 78 },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return dir
}

func TestStatusIsFoundWithoutAPid(t *testing.T) {
	dir := serve(t, nil)
	got, err := Call(t.Context(), Target{Dir: dir, PID: os.Getpid()}, "status")
	if err != nil || string(got) != `{"phase":"running"}` {
		t.Fatalf("status = %s, %v", got, err)
	}
	pids, err := running(dir)
	// The machine may run others: abstract sockets belong to the network namespace.
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Fatalf("running = %v, %v; want %d among them", pids, err, os.Getpid())
	}
}

func TestReloadSaysWhyItFailed(t *testing.T) {
	dir := serve(t, func(context.Context) error { return errors.New("x.hcl:3:1: unknown key") })
	if _, err := Call(t.Context(), Target{Dir: dir, PID: os.Getpid()}, "reload"); err == nil || !strings.Contains(err.Error(), "x.hcl:3:1") {
		t.Fatalf("reload = %v", err)
	}
	if _, err := Call(t.Context(), Target{Dir: dir, PID: os.Getpid()}, "dance"); err == nil || !strings.Contains(err.Error(), `"dance"`) {
		t.Fatalf("unknown verb = %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := Call(t.Context(), Target{Dir: t.TempDir(), PID: 1 << 22}, "status"); !errors.Is(err, ErrNone) {
		t.Fatalf("call to nobody = %v", err)
	}
}

func TestASilentClientDoesNotHoldTheEnd(t *testing.T) {
	dir := serve(t, nil)
	conn, err := dial(t.Context(), dir, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

// A socket file of one's own choice: private, and a dead process's is replaced.
func TestPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for range 2 {
		s, err := New(Config{Path: path, Status: func() any { return 1 }, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Path: path}); err == nil {
			t.Error("a socket in use is taken away")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		if got, err := Call(t.Context(), Target{Path: path, PID: 1}, "status"); err != nil || string(got) != "1" {
			t.Errorf("status = %s, %v", got, err)
		}
		if info, err := os.Stat(path); err != nil || !files.HasMode(path, info, 0o600) {
			t.Error(info, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := Call(t.Context(), Target{Path: path}, "status"); !errors.Is(err, ErrNone) {
			t.Error(err)
		}
	}
}
