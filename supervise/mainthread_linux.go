package supervise

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An init pins main.main to the thread the process began with, the one that
// orphans are given to; later there is no way to get back onto it.
func init() { runtime.LockOSThread() } //nolint:gochecknoinits // see above

// reapUntil collects orphans until there is a result. SIGCHLD coalesces and may
// be lost, so there is a slow tick too.
func reapUntil(result <-chan int) int {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		reapOrphans()
		select {
		case n := <-result:
			reapOrphans()
			return n
		case <-died:
		case <-tick.C:
		}
	}
}

// reapOrphans collects ended children of this thread. Children of other threads,
// whoever started them, are invisible to it: their statuses cannot be stolen.
func reapOrphans() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WNOTHREAD, nil)
		if err == unix.EINTR { //nolint:errorlint // a bare errno
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
