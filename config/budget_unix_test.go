//go:build unix

package config

import (
	"syscall"
	"testing"
	"time"
)

// A configuration with 10,000 templates loads within one second. Processor time is
// measured, not the clock: other tests run beside this one.
func Test10000Templates(t *testing.T) {
	src := manyTemplates(10_000)
	best := time.Hour
	for range 3 {
		begin := cpuTime(t)
		c, err := parseBytes("a.hcl", src)
		if err != nil || len(c.Secrets.Templates) != 10_000 {
			t.Fatal(err)
		}
		if best = min(best, cpuTime(t)-begin); best < time.Second {
			return
		}
	}
	t.Errorf("took %s", best)
}

func cpuTime(t *testing.T) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
