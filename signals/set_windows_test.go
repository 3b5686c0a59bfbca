package signals

import (
	"syscall"
	"testing"
)

// What Windows lacks is a known name, and nothing that comes from outside or goes to a program.
func TestNamesOfElsewhereAreKnown(t *testing.T) {
	for text, want := range map[string]syscall.Signal{"TERM": 15, "sigint": 2, "KILL": 9, "HUP": 1, "USR1": 10, "SIGUSR2": 12, "WINCH": 28, "10": 10, "31": 31} {
		sig, err := Parse(text)
		if err != nil || sig != want {
			t.Errorf("%s is %v, %v", text, sig, err)
		}
		if CanForward(sig) != (text == "TERM" || text == "sigint") {
			t.Errorf("%s may be forwarded: %v", text, CanForward(sig))
		}
	}
	for _, text := range []string{"USR3", "32", "RTMIN", ""} {
		if sig, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, sig)
		}
	}
}
