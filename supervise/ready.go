package supervise

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// ReadyKind is how a program proves that it is ready.
type ReadyKind string

// The kinds of readiness.
const (
	ReadyNone   ReadyKind = "none"   // it is ready when it has started (default)
	ReadyNotify ReadyKind = "notify" // it sends READY=1 to NOTIFY_SOCKET
	ReadyFD     ReadyKind = "fd"     // it writes a newline to Ready.FD
	ReadyExec   ReadyKind = "exec"   // Ready.Command succeeds
	ReadyTCP    ReadyKind = "tcp"    // Ready.Address accepts a connection
	ReadyHTTP   ReadyKind = "http"   // Ready.Address answers with 2xx
	ReadyDelay  ReadyKind = "delay"  // it has lived for Ready.Delay
)

var readyKinds = []ReadyKind{ReadyNone, ReadyNotify, ReadyFD, ReadyExec, ReadyTCP, ReadyHTTP, ReadyDelay}

// Ready says when a program counts as ready. Every program finds the number of
// its start in ENVEXEC_GENERATION; it differs between any two that run at a time.
type Ready struct {
	Kind    ReadyKind
	FD      int           // for fd: the descriptor in the program, 3 or more
	Command []string      // for exec: run with the program's environment and ENVEXEC_PID
	Address string        // for tcp host:port, for http a URL
	Header  string        // for http: this header of the answer must equal ENVEXEC_GENERATION
	Delay   time.Duration // for delay
	Every   time.Duration // between two probes; default 250ms
	Timeout time.Duration // until a program that is not ready has failed; default 60s
	Soak    time.Duration // for Overlap: it has to stay alive so long after that before the old one goes
}

func (r *Ready) fill() {
	orDefault(&r.Timeout, time.Minute)
	orDefault(&r.Every, 250*time.Millisecond)
	if r.Kind == "" {
		r.Kind = ReadyNone
	}
}

// none reports that a program is ready as soon as it has started.
func (r *Ready) none() bool { return r.Kind == ReadyNone }

// proves reports whether readiness cannot be mistaken for the old program's.
func (r *Ready) proves() bool {
	switch r.Kind {
	case ReadyNotify, ReadyFD, ReadyExec, ReadyDelay:
		return true
	case ReadyHTTP:
		return r.Header != ""
	case ReadyNone, ReadyTCP:
	}
	return false
}

func (r *Ready) check(c *Config) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case !slices.Contains(readyKinds, r.Kind):
		bad("unknown readiness %q", r.Kind)
	case r.Kind == ReadyFD && r.FD < firstFD+len(c.Sockets):
		bad("readiness descriptor %d is taken: the first free one is %d", r.FD, firstFD+len(c.Sockets))
	case r.Kind == ReadyFD && r.FD > maxReadyFD:
		bad("readiness descriptor %d is above %d", r.FD, maxReadyFD)
	case r.Kind == ReadyExec && len(r.Command) == 0:
		bad("readiness exec: no command named")
	case (r.Kind == ReadyTCP || r.Kind == ReadyHTTP) && r.Address == "":
		bad("readiness %s: no address", r.Kind)
	case r.Kind == ReadyTCP:
		if _, _, err := net.SplitHostPort(r.Address); err != nil {
			bad("readiness tcp: %w", err)
		}
	}
	if c.OnChange == Overlap && !r.proves() {
		errs = append(errs, errNoProof(r.Kind))
	}
	return errors.Join(errs...)
}

func errNoProof(kind ReadyKind) error {
	return fmt.Errorf("change policy overlap: readiness %s could be the old program's answer; use notify, fd, exec, delay, or http with a header that proves the generation", kind)
}

// The first descriptor after the standard streams, and a bound for the readiness one.
const (
	firstFD    = 3
	maxReadyFD = 255
)
