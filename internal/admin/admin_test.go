package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, reload func(context.Context) error) string {
	t.Helper()
	dir := t.TempDir()
	s, err := New(Config{
		Dir:    dir,
		Status: func() any { return map[string]string{"phase": "running"} },
		Reload: reload,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
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
	got, err := Call(t.Context(), dir, os.Getpid(), "status")
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
	if _, err := Call(t.Context(), dir, os.Getpid(), "reload"); err == nil || !strings.Contains(err.Error(), "x.hcl:3:1") {
		t.Fatalf("reload = %v", err)
	}
	if _, err := Call(t.Context(), dir, os.Getpid(), "dance"); err == nil || !strings.Contains(err.Error(), `"dance"`) {
		t.Fatalf("unknown verb = %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := Call(t.Context(), t.TempDir(), 1<<22, "status"); !errors.Is(err, ErrNone) {
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
