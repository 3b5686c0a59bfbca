//go:build unix && !linux

package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// now reads the system's monotonic clock, which runs on during sleep on macOS and
// the BSDs, unlike the one behind Go's timers there.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
