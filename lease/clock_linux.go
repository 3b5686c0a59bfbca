package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is the time since boot, suspend included.
func bootClock() (time.Duration, bool) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
