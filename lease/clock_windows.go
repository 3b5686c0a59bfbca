package lease

import (
	"time"

	"golang.org/x/sys/windows"
)

// bootClock is the interrupt time, suspend included.
func bootClock() (time.Duration, bool) { return windows.DurationSinceBoot(), true }
