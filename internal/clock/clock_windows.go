package clock

import (
	"time"

	"golang.org/x/sys/windows"
)

// now is GetTickCount64: its ticks of 10 to 16 ms count sleep and hibernation, which
// QueryUnbiasedInterruptTime and the performance counter of some machines leave out.
func now() time.Duration { return windows.DurationSinceBoot() }
