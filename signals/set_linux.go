package signals

import "syscall"

const (
	maxSignal = 64
	// glibc and musl keep 32 and 33 (musl 34 too) for themselves; everyone counts from 34.
	rtMin = 34
	rtMax = 64
)

func forwarded() []syscall.Signal {
	set := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGTERM, syscall.SIGCONT, syscall.SIGXCPU,
		syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGWINCH, syscall.SIGIO, syscall.SIGPWR,
	}
	// The Go runtime leaves 32 to 34 to the C library.
	for n := rtMin + 1; n <= rtMax; n++ {
		set = append(set, syscall.Signal(n))
	}
	return set
}
