//go:build linux

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"github.com/envexec/envexec/supervise"
)

// storm is the other life of the test binary (CONFORMANCE_STORM): a process that reaps orphans the way envexec does,
// while libraries in it run programs of their own through os/exec. It prints "lost N zombies N".
func storm(script string) int {
	return supervise.OnMainThread(func() int {
		lost := 0
		switch script {
		case "exec":
			lost = execStorm(16, 150)
		case "threads":
			lost = threadStorm(200)
		}
		fmt.Printf("lost %d\n", lost)
		return 0
	})
}

// execStorm runs rounds programs in each of several goroutines, each with a chosen status, while others leave orphans.
func execStorm(goroutines, rounds int) (lost int) {
	fixture := os.Getenv("CONFORMANCE_FIXTURE")
	var group sync.WaitGroup
	var mu sync.Mutex
	for g := range goroutines {
		group.Go(func() {
			for i := range rounds {
				code := (g*rounds + i) % 256
				cmd := exec.Command("/bin/sh", "-c", fmt.Sprint("exit ", code)) //nolint:gosec // a number
				_ = cmd.Run()
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
					mu.Lock()
					lost++
					mu.Unlock()
				}
			}
		})
	}
	for range 16 {
		group.Go(func() {
			_ = exec.Command(fixture, "orphans=100:500ms").Run() //nolint:gosec // our own program
		})
	}
	group.Wait()
	return lost
}

// threadStorm waits for programs from goroutines whose thread ends with them.
func threadStorm(rounds int) (lost int) {
	for i := range rounds {
		status := make(chan int)
		var cmd *exec.Cmd
		started := make(chan error)
		go func() {
			runtime.LockOSThread()                                                      // and never unlocked: the thread ends, its children move to the main thread
			cmd = exec.Command("/bin/sh", "-c", fmt.Sprint("sleep 0.01; exit ", i%256)) //nolint:gosec // a number
			started <- cmd.Start()
		}()
		if err := <-started; err != nil {
			lost++
			continue
		}
		go func() {
			_ = cmd.Wait()
			if cmd.ProcessState == nil {
				status <- -1
				return
			}
			status <- cmd.ProcessState.ExitCode()
		}()
		if code := <-status; code != i%256 {
			lost++
		}
	}
	return lost
}
