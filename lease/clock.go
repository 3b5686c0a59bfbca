package lease

import (
	"math"
	"time"
)

const (
	// maxSleep bounds every timer: timers stand still while the machine sleeps, the clock does not.
	maxSleep = 30 * time.Second
	// never is later than any moment.
	never = time.Duration(math.MaxInt64)
)

// systemClock returns the clock of bootClock, or Go's own where that cannot be asked.
func systemClock() func() time.Duration {
	if _, ok := bootClock(); ok {
		return func() time.Duration { t, _ := bootClock(); return t }
	}
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// after returns the moment d after t, or never when that is beyond counting.
func after(t, d time.Duration) time.Duration {
	if d >= never-t {
		return never
	}
	return t + d
}
