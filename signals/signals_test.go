//go:build unix

package signals_test

import (
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/signals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	good := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "sigterm": syscall.SIGTERM, "SigHup": syscall.SIGHUP, "15": syscall.SIGTERM,
		" usr1 ": syscall.SIGUSR1, "KILL": syscall.SIGKILL, "WINCH": syscall.SIGWINCH,
	}
	for in, want := range good {
		if got, err := signals.Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-1", "SIG", "SIGSIGTERM", "TERM+1", "1000", "RTMIN+", "RTMIN3", "RTMIN+99", "RTMAX+1", "15.0"} {
		if got, err := signals.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", in, got)
		}
	}
}

func TestNameIsReadBack(t *testing.T) {
	for _, sig := range signals.Forwarded() {
		if got, err := signals.Parse(signals.Name(sig)); err != nil || got != sig {
			t.Errorf("Parse(Name(%d)) = %d, %v", int(sig), int(got), err)
		}
	}
	if got := signals.Name(99); got != "99" {
		t.Errorf("Name(99) = %q", got)
	}
}

func TestNeverForwarded(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGPROF, syscall.SIGKILL, syscall.SIGSTOP,
		syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
	} {
		if signals.CanForward(sig) {
			t.Errorf("%s must not be forwarded", signals.Name(sig))
		}
	}
	if !slices.IsSorted(signals.Forwarded()) {
		t.Error("Forwarded is not in ascending order")
	}
}

func TestAsksToStop(t *testing.T) {
	for sig, want := range map[syscall.Signal]bool{syscall.SIGTERM: true, syscall.SIGINT: true, syscall.SIGQUIT: true, syscall.SIGHUP: false, syscall.SIGUSR1: false} {
		if got := signals.AsksToStop(sig); got != want {
			t.Errorf("AsksToStop(%s) = %v", signals.Name(sig), got)
		}
	}
}

func TestMap(t *testing.T) {
	m, err := signals.ParseMap("TERM=QUIT,QUIT=TERM,sighup=0,10=KILL")
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[syscall.Signal]syscall.Signal{
		syscall.SIGTERM: syscall.SIGQUIT, syscall.SIGQUIT: syscall.SIGTERM, syscall.SIGHUP: 0,
		syscall.SIGUSR1: syscall.SIGKILL, syscall.SIGUSR2: syscall.SIGUSR2,
	} {
		got, ok := m.Rewrite(from)
		if ok != (want != 0) || (ok && got != want) {
			t.Errorf("Rewrite(%s) = %s, %v; want %s", signals.Name(from), signals.Name(got), ok, signals.Name(want))
		}
	}
	if got, ok := signals.Map(nil).Rewrite(syscall.SIGTERM); !ok || got != syscall.SIGTERM {
		t.Errorf("the empty map changes TERM to %v, %v", got, ok)
	}
}

func TestMalformedMaps(t *testing.T) {
	for _, in := range []string{"a", "derp=lol", "15", "15==12", "=derp", "12=", "12=3=4", "0=15", "-1=5", "15=-6", "99=15", "15=99", "TERM=INT,TERM=HUP", "KILL=TERM", "CHLD=TERM", ",", "TERM=INT,"} {
		if m, err := signals.ParseMap(in); err == nil {
			t.Errorf("ParseMap(%q) = %v, want an error", in, m)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	for _, s := range []string{"", "TERM=INT", "15=0,HUP=USR1", "RTMIN+3=TERM", "RTMAX-1=0", "=", ",", "TERM==INT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := signals.ParseMap(s)
		if err != nil && m != nil {
			t.Errorf("ParseMap(%q) returns both a map and an error", s)
		}
		for from, to := range m {
			if !signals.CanForward(from) || to < 0 {
				t.Errorf("ParseMap(%q) accepts %v=%v", s, from, to)
			}
		}
	})
}
