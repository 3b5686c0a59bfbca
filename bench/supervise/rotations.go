//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/supervise"
)

const (
	rotations = 100
	clients   = 32
	limit     = 30 * time.Second
)

// wrapped is an envexec whose program has one secret.
type wrapped struct {
	b     *bench
	t     vaulttest.T
	cmd   *exec.Cmd
	lines chan string
	value int
}

func (b *bench) wrap(t vaulttest.T, flags []string, program ...string) *wrapped {
	w := &wrapped{b: b, t: t, lines: make(chan string, 64)}
	b.vault.PutKV2(t, "secret/bench", map[string]any{"value": "0"})
	args := append([]string{"--env", "VALUE=secret/bench#value", "--refresh-signal", "PWR", "--quiet", "0s"}, flags...)
	w.cmd = exec.Command(b.envexec, append(append(args, "--"), program...)...)
	w.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + b.vault.Addr, "VAULT_TOKEN=" + b.vault.RootToken, "ENVEXEC_LOG_LEVEL=debug"}
	pipe, err := w.cmd.StderrPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatalf("run envexec: %v", err)
	}
	t.Cleanup(w.end)
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			w.lines <- lines.Text()
		}
	}()
	w.await("to=ready") // from now on signals are caught, too
	return w
}

func (w *wrapped) end() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	for range w.lines { // until it has ended
	}
	_ = w.cmd.Wait()
}

// rotate changes the secret and waits until the program has the new value.
func (w *wrapped) rotate() {
	w.value++
	w.b.vault.PutKV2(w.t, "secret/bench", map[string]any{"value": fmt.Sprint(w.value)})
	if err := w.cmd.Process.Signal(syscall.SIGPWR); err != nil {
		w.t.Fatalf("ask for a refresh: %v", err)
	}
	w.await("secrets changed and are in use")
}

// await waits until envexec says so.
func (w *wrapped) await(what string) {
	timeout := time.After(limit)
	for last := ""; ; {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("envexec ended, saying last: %s", last)
			}
			last = line
			if strings.Contains(line, what) {
				return
			}
		case <-timeout:
			w.t.Fatalf("envexec did not say %q within %s", what, limit)
		}
	}
}

// overlap: failed requests over rotations, stop-then-start beside it.
func (b *bench) overlap(t vaulttest.T, r *report) {
	address := freeAddress(t)
	held := []string{"--listen", "web=tcp://" + address, "--ready", "notify", "--on-change", "overlap"}
	ok, failed := b.underLoad(t, address, b.wrap(t, held, b.server))
	address = freeAddress(t)
	okBeside, failedBeside := b.underLoad(t, address, b.wrap(t, nil, b.server, "-listen", address))
	r.add(fmt.Sprintf("failed requests over %d rotations under %d clients without keep-alive", rotations, clients),
		fmt.Sprintf("overlap: %d of %d", failed, ok+failed), fmt.Sprintf("stop, then start: %d of %d", failedBeside, okBeside+failedBeside),
		"0", failed == 0 && ok > rotations)
}

func freeAddress(t vaulttest.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// underLoad rotates while clients ask, each request over a connection of its own.
func (b *bench) underLoad(t vaulttest.T, address string, w *wrapped) (ok, failed int64) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit}
	for end := time.Now().Add(limit); ask(client, address) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the server does not answer")
		}
	}
	var good, bad atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var crowd sync.WaitGroup
	for range clients {
		crowd.Go(func() {
			for ctx.Err() == nil {
				if ask(client, address) != nil {
					bad.Add(1)
					time.Sleep(10 * time.Millisecond) // what is refused at once must not be most of what is asked
				} else {
					good.Add(1)
				}
			}
		})
	}
	for range rotations {
		w.rotate()
	}
	stop()
	crowd.Wait()
	w.end()
	return good.Load(), bad.Load()
}

func ask(client *http.Client, address string) error {
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// use is what must not grow.
type use struct{ fds, threads, rss, goroutines int }

func (u use) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %.1f MB", u.fds, u.threads, float64(u.rss)/1000)
}

const few, many = 100, 1000

// restarts: what envexec uses after 100 restarts and after 1,000.
func (b *bench) restarts(t vaulttest.T, r *report) {
	w := b.wrap(t, nil, "sleep", "1h")
	for range few {
		w.rotate()
	}
	before := usage(w.cmd.Process.Pid)
	for range many - few {
		w.rotate()
	}
	after := usage(w.cmd.Process.Pid)
	w.end()
	out, err := exec.Command(b.self, "-role", "generations").Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &before.goroutines, &after.goroutines)
	}
	if err != nil {
		t.Fatalf("count goroutines: %v", err)
	}
	flat := after.fds <= before.fds && after.threads <= before.threads+2 && after.rss <= before.rss*11/10 && after.goroutines <= before.goroutines
	r.add("1,000 restarts", fmt.Sprintf("%s, %d goroutines", after, after.goroutines),
		fmt.Sprintf("after 100: %s, %d goroutines", before, before.goroutines), "flat", flat)
}

func usage(pid int) use {
	time.Sleep(time.Second) // what ends with a restart has ended
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return use{fds: len(entries), threads: statusField(pid, "Threads"), rss: statusField(pid, "VmRSS")}
}

// generations runs a supervisor through as many restarts and prints how many
// goroutines there are after few and after many.
func generations() int {
	ready := make(chan uint64)
	s, err := supervise.New(supervise.Config{
		Command: []string{"sleep", "1h"}, Path: os.Getenv("PATH"), Quiet: -1,
		Trace: supervise.Trace{Ready: func(_ int, generation uint64) { ready <- generation }},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	gens, ended := make(chan supervise.Generation), make(chan struct{})
	go func() { defer close(ended); _, _ = s.Run(ctx, gens) }()
	var counts []int
	for id := uint64(1); id <= many; id++ {
		gens <- supervise.Generation{ID: id}
		for <-ready != id {
		}
		if id == few || id == many {
			time.Sleep(time.Second)
			counts = append(counts, runtime.NumGoroutine())
		}
	}
	stop()
	<-ended
	fmt.Println(counts[0], counts[1])
	return 0
}
