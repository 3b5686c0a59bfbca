package signals

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Parse reads a signal: a name with or without SIG in any case (TERM, sigterm),
// a real-time name (RTMIN+3, RTMAX-1) or a number. Zero is no signal.
func Parse(s string) (syscall.Signal, error) {
	name := strings.ToUpper(strings.TrimSpace(s))
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		if n < 1 || n > maxSignal {
			return 0, fmt.Errorf("unknown signal %q: numbers go from 1 to %d", s, maxSignal)
		}
		return syscall.Signal(n), nil
	}
	short := strings.TrimPrefix(name, "SIG")
	if sig := number(short); sig != 0 {
		return sig, nil
	}
	if sig := realTime(short); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// Name returns the short name of sig (TERM, RTMIN+3), or its number where it has none.
func Name(sig syscall.Signal) string {
	if s := name(sig); s != "" {
		return s
	}
	if rtMin > 0 && int(sig) >= rtMin && int(sig) <= rtMax {
		if sig == syscall.Signal(rtMin) {
			return "RTMIN"
		}
		return fmt.Sprintf("RTMIN+%d", int(sig)-rtMin)
	}
	return strconv.Itoa(int(sig))
}

// realTime reads RTMIN, RTMIN+n, RTMAX and RTMAX-n; 0 where there are none.
func realTime(s string) syscall.Signal {
	if rtMin == 0 {
		return 0
	}
	base := rtMin
	rest, ok := strings.CutPrefix(s, "RTMIN")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "RTMAX"); !ok {
			return 0
		}
		base = rtMax
	}
	if rest == "" {
		return syscall.Signal(base)
	}
	n, err := strconv.Atoi(rest)
	if sign := rest[0]; err != nil || (sign != '+' && sign != '-') {
		return 0
	}
	if n += base; n < rtMin || n > rtMax {
		return 0
	}
	return syscall.Signal(n)
}

// Forwarded lists what is passed on to the program, in ascending order. It is
// explicit on purpose: URG is the Go runtime's own, CHLD is ours, PIPE is about
// our own streams, and PROF, the synchronous faults, KILL and STOP cannot be
// caught. TSTP, TTIN and TTOU are job control and handled apart.
func Forwarded() []syscall.Signal { return forwarded() }

// CanForward reports whether sig is in Forwarded.
func CanForward(sig syscall.Signal) bool { return slices.Contains(forwarded(), sig) }

// AsksToStop reports whether sig, sent from outside, asks a program to end.
func AsksToStop(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}
