package supervise

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/systemd"
)

// serviceManager is systemd's side of sd_notify.
type serviceManager struct {
	t        *testing.T
	receiver *systemd.Receiver
	lines    chan string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	r, err := systemd.Listen()
	if err != nil {
		t.Fatal(err)
	}
	sm := &serviceManager{t: t, receiver: r, lines: make(chan string, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := r.Receive()
			if err != nil {
				return
			}
			text := strings.Join(m.Lines, " ")
			if len(m.FDs) > 0 {
				text += " +fd"
			}
			m.CloseFDs()
			sm.lines <- text
		}
	}()
	t.Cleanup(func() { r.Close(); <-done })
	return sm
}

// hears waits for a message that begins with want and returns those before it.
func (sm *serviceManager) hears(want string) []string {
	sm.t.Helper()
	var before []string
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line := <-sm.lines:
			if strings.HasPrefix(line, want) {
				return before
			}
			before = append(before, line)
		case <-timeout:
			sm.t.Fatalf("the manager never hears %q, only %q", want, before)
		}
	}
}

func managed(t *testing.T, sm *serviceManager, adjust func(*Config)) *trial {
	t.Helper()
	return begin(t, func(c *Config) {
		c.Manager.NotifySocket = sm.receiver.Path()
		if adjust != nil {
			adjust(c)
		}
	})
}

func TestManagerHearsOneLifeInOrder(t *testing.T) {
	sm := newServiceManager(t)
	tr := managed(t, sm, func(c *Config) {
		c.Ready = Ready{Kind: ReadyNotify}
		c.Sockets = []Socket{{Name: "web", Network: "tcp", Address: "127.0.0.1:0"}}
	})
	tr.does("ready notify MAINPID=1,NOTIFYACCESS=all,STOPPING=1,STATUS=warm,X_HINT=y,READY=1")
	sm.hears("FDSTORE=1 FDNAME=web +fd")
	sm.hears("STATUS=waiting")
	sm.hears("STATUS=starting")
	if before := sm.hears("READY=1"); slices.ContainsFunc(before, func(s string) bool { return strings.Contains(s, "MAINPID") }) {
		t.Errorf("handed on: %q", before)
	}
	sm.hears("STATUS=ready, generation 1")
	sm.hears("STATUS=program: warm X_HINT=y")
	// A restart is no second READY, and the end is said first and once.
	tr.does("ready notify READY=1")
	before := sm.hears("STATUS=ready, generation 2")
	tr.stops()
	before = append(before, sm.hears("STOPPING=1")...)
	if slices.Contains(before, "READY=1") || slices.Contains(before, "STOPPING=1") {
		t.Errorf("heard %q", before)
	}
}

func TestOnlyTheGroupIsBelieved(t *testing.T) {
	group := unix.Getpgrp()
	for _, c := range []struct {
		leader, pid int
		want        bool
	}{
		{group, os.Getpid(), true},
		{os.Getpid(), os.Getpid(), true},
		{1 << 22, os.Getpid(), false},
		{group, 0, false},
		{group, 1 << 22, false},
	} {
		if got := sameGroup(c.leader, c.pid); got != c.want {
			t.Errorf("sameGroup(%d, %d) = %v", c.leader, c.pid, got)
		}
	}
}

func TestReloadTellsTheManager(t *testing.T) {
	sm := newServiceManager(t)
	tr := managed(t, sm, nil)
	tr.does("ready never")
	sm.hears("READY=1")
	sm.hears("STATUS=ready")
	_, err := tr.sup.Reload(t.Context(), func(context.Context) error {
		sm.hears("RELOADING=1 MONOTONIC_USEC=")
		tr.does("ready never")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := sm.hears("READY=1")
	if !slices.Contains(before, "STATUS=ready, generation 2") {
		t.Errorf("ready again before the new program is: %q", before)
	}
	tr.stops()
}

func TestWatchdogAndSlowStart(t *testing.T) {
	sm := newServiceManager(t)
	tr := managed(t, sm, func(c *Config) {
		c.Manager.Watchdog = 40 * time.Millisecond
		c.Ready = Ready{Kind: ReadyNotify}
	})
	sm.hears("WATCHDOG=1")
	sm.hears("EXTEND_TIMEOUT_USEC=15000000")
	tr.does("ready notify READY=1,WATCHDOG=1")
	sm.hears("READY=1")
	sm.hears("STATUS=ready")
	// From now on it is the program's business.
	sm.hears("WATCHDOG=1")
	// A reload takes a few beats.
	if _, err := tr.sup.Reload(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	sm.hears("RELOADING=1")
	if before := sm.hears("READY=1"); slices.Contains(before, "WATCHDOG=1") {
		t.Errorf("pings in the program's place: %q", before)
	}
	tr.stops()
}

// A storm of reloads while the program is not ready leaves nothing behind, and is answered once.
func TestManyReloadsAreOne(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	sm := newServiceManager(t)
	tr := managed(t, sm, func(c *Config) { c.Ready = Ready{Kind: ReadyNotify} })
	tr.does("ready notify READY=1")
	sm.hears("STATUS=ready")
	first, err := tr.sup.Reload(t.Context(), func(context.Context) error {
		tr.does("ready after " + gate)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		again, err := tr.sup.Reload(t.Context(), func(context.Context) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if again != first {
			t.Fatal("every reload waits by itself")
		}
	}
	select {
	case <-first:
		t.Error("in use before the new program is ready")
	default:
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if before := sm.hears("READY=1"); !slices.Contains(before, "STATUS=ready, generation 2") {
		t.Errorf("ready again before the new program is: %q", before)
	}
	<-first
	tr.stops()
	if slices.Contains(sm.hears("STOPPING=1"), "READY=1") {
		t.Error("ready twice")
	}
}
