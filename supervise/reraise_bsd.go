//go:build unix && !linux

package supervise

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Reraise ends this process by sig, as the program ended. It returns, for
// 128+n, as PID 1 and for the signals that make the Go runtime print a stack.
func Reraise(sig syscall.Signal) {
	switch sig {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGALRM,
		syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGUSR2:
	default:
		return
	}
	if os.Getpid() == 1 {
		return
	}
	signal.Reset(sig)
	if syscall.Kill(os.Getpid(), sig) == nil {
		time.Sleep(reraisePatience)
	}
}

// reraisePatience is how long a signal to ourselves may take to arrive.
const reraisePatience = time.Second

// defaultAction gives a signal back.
func defaultAction(sig syscall.Signal) { signal.Reset(sig) }
