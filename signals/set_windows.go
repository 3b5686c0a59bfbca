package signals

import (
	"slices"
	"syscall"
)

const (
	maxSignal = 31
	rtMin     = 0
	rtMax     = 0
)

// Windows has no signals; os/signal turns Ctrl-C and Ctrl-Break into INT, and
// closing the console, logging off and shutting down into TERM.
func forwarded() []syscall.Signal { return []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} }

// names has Linux's numbers. What Windows lacks of them is known all the same, so that the
// configuration is refused with that reason and not for a misspelled name.
var names = [...]string{
	syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT", syscall.SIGILL: "ILL",
	syscall.SIGTRAP: "TRAP", syscall.SIGABRT: "ABRT", syscall.SIGBUS: "BUS", syscall.SIGFPE: "FPE",
	syscall.SIGKILL: "KILL", syscall.SIGSEGV: "SEGV", syscall.SIGPIPE: "PIPE", syscall.SIGALRM: "ALRM",
	syscall.SIGTERM: "TERM", 10: "USR1", 12: "USR2", 17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU",
	23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
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
