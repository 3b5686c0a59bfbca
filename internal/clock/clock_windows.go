package clock

import (
	"time"

	"golang.org/x/sys/windows"
)

// now is the interrupt time, sleep included.
func now() time.Duration { return windows.DurationSinceBoot() }
