// Package clock is time that does not jump: deadlines of leases and tokens are
// points on it. It runs on while the machine sleeps (Go's own timers and, on Linux,
// its monotonic clock stand still then) and knows nothing of the wall clock's steps.
package clock

import "time"

// MaxSleep bounds every timer that waits for a point on this clock: a timer stands
// still while the machine sleeps, so nothing sleeps longer without looking again.
const MaxSleep = 30 * time.Second

// Now returns the time since boot, suspend included. Inside a testing/synctest
// bubble it is real time: tests inject their own clock.
func Now() time.Duration { return now() }

// processStart anchors the fallback where the system cannot be asked.
var processStart = time.Now()

func sinceStart() time.Duration { return time.Since(processStart) }
