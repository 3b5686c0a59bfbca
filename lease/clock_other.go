//go:build !unix && !windows

package lease

import "time"

// bootClock has no system clock to ask here.
func bootClock() (time.Duration, bool) { return 0, false }
