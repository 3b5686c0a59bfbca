//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

const (
	reapRuns    = 3
	collectors  = 16
	programs    = 150 // of each
	orphanages  = 16
	orphansEach = 100
)

// reap: orphans reaped as process 1 while statuses are collected by os/exec.
func (b *bench) reap(t vaulttest.T, r *report) {
	var lost, left int
	for range reapRuns {
		cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", b.self, "-role", "storm")
		if os.Getuid() != 0 {
			cmd = exec.Command("unshare", append([]string{"--user", "--map-root-user"}, cmd.Args[1:]...)...)
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		var runLost, runLeft int
		if err == nil {
			_, err = fmt.Sscan(string(out), &runLost, &runLeft)
		}
		if err != nil {
			t.Fatalf("run as process 1: %v", err)
		}
		lost, left = lost+runLost, left+runLeft
	}
	r.add(fmt.Sprintf("%d orphans reaped as process 1 while %d statuses are collected, %d runs", orphanages*orphansEach, collectors*programs, reapRuns),
		fmt.Sprintf("%d statuses lost, %d orphans left", lost, left), "–", "0 and 0", lost == 0 && left == 0)
}

// storm is process 1: it prints how many statuses were lost and how many processes are left.
func storm() int {
	var lost atomic.Int64
	var all sync.WaitGroup
	for range orphanages {
		all.Go(func() {
			if exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 0.$i & i=$((i+1)); done", orphansEach)).Run() != nil {
				lost.Add(1)
			}
		})
	}
	for c := range collectors {
		all.Go(func() {
			for i := range programs {
				want := (c*programs + i) % 256
				cmd := exec.Command("sh", "-c", "exit "+strconv.Itoa(want))
				_ = cmd.Run()
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
					lost.Add(1)
				}
			}
		})
	}
	all.Wait()
	left := others()
	for end := time.Now().Add(10 * time.Second); left > 0 && time.Now().Before(end); left = others() {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println(lost.Load(), left)
	return 0
}

// others counts the processes of this namespace but ourselves, zombies too.
func others() (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			n++
		}
	}
	return n
}
