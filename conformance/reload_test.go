//go:build linux && integration

package conformance

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// N5 is proved on the wire: Debian 12's systemd 252 does not know Type=notify-reload.
func TestN5(t *testing.T) {
	t.Parallel()
	vault := newVault(t)
	p, socket := notified(t, command{
		flags: rotating("--refresh-signal", "HUP", "--ready", "notify"), env: vault.env(),
		args: program("on=TERM", "{", "exit=0", "}", "env=VALUE", "when=new", "{", "waitfile="+gate(t), "}", "notify=READY=1", "wait"),
	})
	p.line("env VALUE=1")
	socket.expect("READY=1")
	vault.set("new")
	before := monotonic(t)
	p.signal(syscall.SIGHUP)
	message := socket.expect("RELOADING=1")
	var stamp int64
	for line := range strings.SplitSeq(message.text, "\n") {
		_, _ = fmt.Sscanf(line, "MONOTONIC_USEC=%d", &stamp)
	}
	if stamp < before || stamp > monotonic(t) {
		t.Errorf("the stamp in %q is not from now (%d)", message.text, before)
	}
	p.line("env VALUE=new")
	if socket.count("READY=1") != 1 {
		t.Error("ready before the new program was")
	}
	open(t)
	socket.expect("READY=1")
}

func monotonic(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}
