package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// now reads CLOCK_BOOTTIME, clock_gettime(2).
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
