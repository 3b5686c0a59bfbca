//go:build !linux && !windows

package auth

import "time"

// bootTime is the monotonic clock, which may stop during suspend here.
func bootTime() time.Duration { return time.Since(processStart) }
