//go:build linux && integration

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	systemdCase.n1 = func(t *testing.T) {
		u := newUnit(t, envexec.argv([]string{"--ready", "notify"}, program("say=up", "waitfile="+gate(t), "notify=READY=1", "wait")),
			"Type=notify", "NotifyAccess=main")
		u.startSoon()
		u.line("up")
		if state := u.show("ActiveState"); state != "activating" {
			t.Errorf("%s before READY", state)
		}
		open(t)
		eventually(t, "the unit is active", func() bool { return u.show("ActiveState") == "active" })
	}
	systemdCase.n2 = func(t *testing.T) {
		u := newUnit(t, envexec.argv(nil, program("wait")), "Type=notify", "NotifyAccess=main")
		u.mustStart()
	}
	systemdCase.n7 = func(t *testing.T) {
		address := freePort(t)
		u := newUnit(t, envexec.argv(rotating("--address", "http://"+address), program("wait")),
			"Type=notify", "TimeoutStartSec=10", "Environment=VAULT_TOKEN=x")
		u.startSoon()
		time.Sleep(12 * time.Second) // the case itself is a time-out that must not happen
		if state := u.show("ActiveState"); state != "activating" {
			t.Errorf("%s after TimeoutStartSec, result %s", state, u.show("Result"))
		}
	}
	systemdCase.n8 = func(t *testing.T) {
		u := newUnit(t, envexec.argv([]string{"--ready", "notify"},
			program("env=WATCHDOG_PID", "notify=READY=1", "watchdog=1s:10", "wait")), "Type=notify", "WatchdogSec=7")
		u.mustStart()
		if pid := u.line("env WATCHDOG_PID="); pid != "" {
			t.Errorf("WATCHDOG_PID=%s reached the program", pid)
		}
		u.line("watchdog silent")
		if state := u.show("ActiveState"); state != "active" {
			t.Errorf("%s though the program pinged", state)
		}
		u.inactive()
		if result := u.show("Result"); result != "watchdog" {
			t.Errorf("Result=%s, want watchdog", result)
		}
	}
	systemdCase.n11 = func(t *testing.T) {
		address := freePort(t)
		u := newUnit(t, envexec.argv([]string{"--listen", "web=tcp://" + address, "--ready", "notify"}, server()),
			"Type=notify", "FileDescriptorStoreMax=4", "NotifyAccess=main")
		u.mustStart()
		eventually(t, "the socket is stored", func() bool { return u.show("NFileDescriptorStore") == "1" })
		crowd := newClients(t, 8, "tcp", address)
		if out, err := systemctl("restart", u.name); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, "requests are answered", func() bool { return crowd.ok.Load() > 50 })
		crowd.end()
		if crowd.failed.Load() != 0 {
			t.Errorf("%d requests failed over the restart, first with %v", crowd.failed.Load(), crowd.first.Load())
		}
	}
	systemdCase.n12 = func(t *testing.T) {
		address := freePort(t)
		u := newUnit(t, envexec.argv(nil, program("http", "say=up", "wait")))
		u.write(u.name+".socket", "[Unit]", "DefaultDependencies=no", "[Socket]", "ListenStream="+address)
		if out, err := systemctl("start", u.name+".socket"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { _, _ = systemctl("stop", u.name+".socket") })
		if pid, _ := asked(t, "tcp", address); pid == 0 {
			t.Error("nobody answers")
		}
	}
}

func TestN13(t *testing.T) {
	t.Parallel()
	for result, flags := range map[string][]string{"success": nil, "exit-code": {"--reraise=false"}} {
		t.Run(result, func(t *testing.T) {
			u := newUnit(t, envexec.argv(flags, program("say=up", "die=TERM")))
			_ = u.start()
			u.inactive()
			if got := u.show("Result"); got != result {
				t.Errorf("Result=%s, want %s", got, result)
			}
		})
	}
}

// countSignals takes signals from the kernel's queue one by one: handlers of Go, shells and Python merge two that meet.
const countSignals = `
import signal
names = {signal.SIGTERM: "TERM", signal.SIGUSR1: "USR1", 37: "37"}
signal.pthread_sigmask(signal.SIG_BLOCK, names)
print("up", flush=True)
while True:
    print("signal", names[signal.sigwaitinfo(names).si_signo], flush=True)`

// N14 under control-group stops by a signal that the kernel queues: two TERMs that meet become one.
func TestN14(t *testing.T) {
	t.Parallel()
	for mode, c := range map[string]struct {
		signal, seen string
		times        int
	}{
		"mixed":         {"SIGTERM", "TERM", 1},
		"control-group": {"SIGRTMIN+3", "37", 2},
	} {
		t.Run(mode, func(t *testing.T) {
			u := newUnit(t, envexec.argv(nil, []string{"/usr/bin/python3", "-c", countSignals}),
				"KillMode="+mode, "KillSignal="+c.signal, "TimeoutStopSec=infinity")
			u.mustStart()
			u.line("up")
			if out, err := systemctl("stop", "--no-block", u.name); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for range c.times {
				u.line("signal " + c.seen)
			}
			u.mainSignal(syscall.SIGUSR1) // what came before it would be seen before it
			u.line("signal USR1")
			if got := u.out.count("signal " + c.seen); got != c.times {
				t.Errorf("the program got %s %d times, want %d", c.signal, got, c.times)
			}
		})
	}
}

func TestN15(t *testing.T) {
	t.Parallel()
	vault, token := newVault(t), filepath.Join(tempDir(t), "token")
	write(t, token, "conformance", 0o600)
	u := newUnit(t, envexec.argv(rotating("--address", vault.addr), program("env=VALUE", "env=CREDENTIALS_DIRECTORY", "env=VAULT_TOKEN_FILE", "wait")),
		"LoadCredential=token:"+token, "Environment=VAULT_TOKEN_FILE=%d/token")
	u.mustStart()
	eventually(t, "the program runs", func() bool {
		if state := u.show("ActiveState"); state != "active" {
			t.Fatalf("the unit is %s, result %s, status %s", state, u.show("Result"), u.show("ExecMainStatus"))
		}
		return u.out.count("env VALUE=1") == 1
	})
	for _, name := range []string{"CREDENTIALS_DIRECTORY", "VAULT_TOKEN_FILE"} {
		if value := u.line("env " + name + "="); value != "" {
			t.Errorf("%s=%s reached the program", name, value)
		}
	}
}

// N16: what reads the service's output goes away and comes back, as journald does when it is restarted.
func TestN16(t *testing.T) {
	t.Parallel()
	require(t, "systemd", systemdProblem())
	fifo := filepath.Join(tempDir(t), "fifo")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	u := newUnit(t, envexec.argv([]string{"--log-level", "trace"}, program("trap=USR1,USR2", "say=up", "wait")),
		"StandardError=file:"+fifo)
	u.mustStart()
	u.line("up")
	for range 5 {
		_ = reader.Close()
		u.mainSignal(syscall.SIGUSR1)
		u.line("signal USR1")
		if reader, err = os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
		u.mainSignal(syscall.SIGUSR2)
		u.line("signal USR2")
	}
	_ = reader.Close()
	if state := u.show("ActiveState"); state != "active" {
		t.Errorf("the unit is %s", state)
	}
}

func TestN17(t *testing.T) {
	t.Parallel()
	look := []string{"/bin/cat", "/proc/self/status"}
	mask := func(argv []string) uint64 {
		u := newUnit(t, argv, "Type=oneshot")
		u.mustStart()
		u.line("nonvoluntary")
		return fieldOf(t, u.out.all(), "SigIgn")
	}
	want, got := mask(look), mask(envexec.argv([]string{"--log-level", "warn"}, look))
	if want != got || got&(1<<(syscall.SIGPIPE-1)) == 0 {
		t.Errorf("the program ignores %#x, without a wrapper %#x", got, want)
	}
}

// TestSystemdStop: the unit's stop is announced, and the program ends in its own time.
func TestSystemdStop(t *testing.T) {
	t.Parallel()
	u := newUnit(t, envexec.argv(nil, program("on=TERM", "{", "say=term", "exit=0", "}", "say=up", "wait")), "Type=notify", "KillMode=mixed")
	u.mustStart()
	u.line("up")
	u.stop()
	if result := u.show("Result"); result != "success" || !strings.Contains(u.out.text(), "term") {
		t.Errorf("Result=%s\n%s", result, fmt.Sprint(u.out.all()))
	}
}
