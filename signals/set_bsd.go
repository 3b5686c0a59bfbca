//go:build unix && !linux

package signals

import "syscall"

const (
	maxSignal = 31
	rtMin     = 0
	rtMax     = 0
)

func forwarded() []syscall.Signal {
	return []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGALRM,
		syscall.SIGTERM, syscall.SIGCONT, syscall.SIGIO, syscall.SIGXCPU, syscall.SIGXFSZ,
		syscall.SIGVTALRM, syscall.SIGWINCH, syscall.SIGINFO, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}
