package systemd_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/systemd"
)

func listen(t *testing.T) *systemd.Receiver {
	t.Helper()
	r, err := systemd.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestSendAndReceive(t *testing.T) {
	r := listen(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	n := systemd.NewNotifier(r.Path())
	if err := n.Send([]int{int(file.Fd())}, "FDSTORE=1", "FDNAME=null"); err != nil {
		t.Fatal(err)
	}
	m, err := r.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer m.CloseFDs()
	if !slices.Equal(m.Lines, []string{"FDSTORE=1", "FDNAME=null"}) || m.PID != os.Getpid() || m.UID != os.Getuid() || len(m.FDs) != 1 {
		t.Fatalf("received %+v", m)
	}
	if flags, err := unix.FcntlInt(uintptr(m.FDs[0]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("a received descriptor is inherited: %d, %v", flags, err)
	}
}

// TestAgainstGoSystemd: an implementation that is not ours.
func TestAgainstGoSystemd(t *testing.T) {
	r := listen(t)
	t.Setenv("NOTIFY_SOCKET", r.Path())
	if ok, err := daemon.SdNotify(false, daemon.SdNotifyReady); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if m, err := r.Receive(); err != nil || !m.Is("READY") {
		t.Errorf("received %+v, %v", m, err)
	}
	theirs := daemon.SdNotifyMonotonicUsec()
	got := systemd.Monotonic()
	text, _, _ := strings.Cut(strings.TrimPrefix(theirs, "MONOTONIC_USEC="), "\n")
	want, err := strconv.ParseInt(text, 10, 64)
	if err != nil || got < want || got > want+int64(time.Minute/time.Microsecond) {
		t.Errorf("the stamp is %d, theirs %q", got, theirs)
	}
}

func TestSendNeverBlocksAndSaysWhy(t *testing.T) {
	if err := systemd.NewNotifier("").Send(nil, "READY=1"); err != nil {
		t.Errorf("nobody listens: %v", err)
	}
	if err := systemd.NewNotifier("vsock:1:2").Send(nil, "READY=1"); err == nil {
		t.Error("an unknown kind of socket is accepted")
	}
	if err := systemd.NewNotifier(filepath.Join(t.TempDir(), "missing")).Send(nil, "READY=1"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing socket: %v", err)
	}
	r := listen(t)
	n := systemd.NewNotifier(r.Path())
	deadline := time.Now().Add(10 * time.Second)
	for {
		if err := n.Send(nil, "STATUS=full"); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Errorf("full socket: %v", err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the socket is never full")
		}
	}
}

func TestCloseEndsReceive(t *testing.T) {
	r := listen(t)
	ended := make(chan error, 1)
	go func() { _, err := r.Receive(); ended <- err }()
	r.Close()
	if err := <-ended; err == nil {
		t.Error("Receive returns a message after Close")
	}
}
