package auth

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is a clock that neither stops during suspend nor jumps with the wall clock.
func bootTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return time.Since(processStart)
	}
	return time.Duration(ts.Nano())
}
