//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

const (
	starts       = 101
	signalRounds = 3000
)

func tini(t vaulttest.T) string {
	path, err := exec.LookPath("tini")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

// start: exec of the wrapper to the program's first instruction. What it costs is
// the median of the differences between neighbours.
func (b *bench) start(t vaulttest.T, r *report) {
	other := tini(t)
	var ours, theirs, added []time.Duration
	for range starts {
		e := b.firstInstruction(t, b.envexec, "--")
		o := b.firstInstruction(t, other, "--")
		ours, theirs, added = append(ours, e), append(theirs, o), append(added, e-o)
	}
	more := quantile(added, 0.5)
	r.add("start of a program without secrets: added time against tini", fmt.Sprintf("%s more (%s)", ms(more), ms(quantile(ours, 0.5))),
		"tini: "+ms(quantile(theirs, 0.5)), "at most 12 ms more", more <= 12*time.Millisecond)
}

func (b *bench) firstInstruction(t vaulttest.T, wrapper ...string) time.Duration {
	stamp := filepath.Join(b.dir, "stamp")
	_ = os.Remove(stamp)
	cmd := exec.Command(wrapper[0], append(wrapper[1:], b.probe, stamp)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(stamp)
	if err != nil || readErr != nil {
		t.Fatalf("run %s: %v, %v\n%s", wrapper[0], err, readErr, out)
	}
	var at int64
	if _, err := fmt.Sscan(string(text), &at); err != nil {
		t.Fatalf("read the probe's time: %v", err)
	}
	return time.Duration(at - began.UnixNano())
}

// waiter tells the monotonic time at which each signal arrived, and does nothing else.
const waiter = `
import signal, struct, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
out = sys.stdout.buffer.raw
out.write(struct.pack("=q", 0))
while True:
    signal.sigwaitinfo([signal.SIGUSR1])
    out.write(struct.pack("=q", time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
`

// target is a waiter behind a wrapper.
type target struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	took []time.Duration
}

func newTarget(t vaulttest.T, wrapper ...string) *target {
	cmd := exec.Command(wrapper[0], append(wrapper[1:], "python3", "-c", waiter)...)
	cmd.Env, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("run %s: %v", wrapper[0], err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	a := &target{cmd: cmd, out: bufio.NewReader(pipe)}
	a.next(t)
	return a
}

func (a *target) next(t vaulttest.T) (at int64) {
	if err := binary.Read(a.out, binary.NativeEndian, &at); err != nil {
		t.Fatalf("read when the signal arrived: %v", err)
	}
	return at
}

// signals sends one signal at a time, in turn to a program behind each wrapper.
func (b *bench) signals(t vaulttest.T, r *report) {
	ours, theirs, bare := newTarget(t, b.envexec, "--"), newTarget(t, tini(t), "--"), newTarget(t, "/usr/bin/env")
	for range signalRounds {
		for _, a := range []*target{ours, theirs, bare} {
			time.Sleep(500 * time.Microsecond) // all is at rest again
			began := monotonic()
			if err := a.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatalf("send a signal: %v", err)
			}
			a.took = append(a.took, time.Duration(a.next(t)-began))
		}
	}
	e, o, n := quantile(ours.took, 0.99), quantile(theirs.took, 0.99), quantile(bare.took, 0.99)
	times := float64(e) / float64(o)
	r.add("signal delivered to the program, p99", fmt.Sprintf("%s (median %s)", us(e), us(quantile(ours.took, 0.5))),
		fmt.Sprintf("tini: %s (median %s), no wrapper: %s; %.1f times", us(o), us(quantile(theirs.took, 0.5)), us(n), times),
		"at most 5 times tini's", times <= 5)
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
func us(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// statusField reads a number out of /proc/PID/status.
func statusField(pid int, name string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(text), "\n"+name+":")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0])
	return n
}
