package auth

import (
	"time"

	"golang.org/x/sys/windows"
)

// bootTime is a clock that neither stops during suspend nor jumps with the wall clock.
func bootTime() time.Duration { return windows.DurationSinceBoot() }
