//go:build unix && !linux

package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is the system's monotonic clock: it runs during sleep on macOS and
// the BSDs, unlike the one Go's timers use there.
func bootClock() (time.Duration, bool) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
