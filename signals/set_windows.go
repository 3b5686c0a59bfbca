package signals

import (
	"slices"
	"syscall"
)

const (
	maxSignal = 15
	rtMin     = 0
	rtMax     = 0
)

// Windows has no signals; os/signal turns Ctrl-C and Ctrl-Break into INT, and
// closing the console, logging off and shutting down into TERM.
func forwarded() []syscall.Signal { return []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} }

var names = [...]string{
	syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT", syscall.SIGILL: "ILL",
	syscall.SIGTRAP: "TRAP", syscall.SIGABRT: "ABRT", syscall.SIGBUS: "BUS", syscall.SIGFPE: "FPE",
	syscall.SIGKILL: "KILL", syscall.SIGSEGV: "SEGV", syscall.SIGPIPE: "PIPE", syscall.SIGALRM: "ALRM",
	syscall.SIGTERM: "TERM",
}

func number(short string) syscall.Signal {
	if i := slices.Index(names[:], short); i > 0 {
		return syscall.Signal(i)
	}
	return 0
}

func name(sig syscall.Signal) string {
	if sig <= 0 || int(sig) >= len(names) {
		return ""
	}
	return names[sig]
}
