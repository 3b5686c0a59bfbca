package lease

import (
	"math"
	"time"
)

// never is later than any moment.
const never = time.Duration(math.MaxInt64)

// after returns the moment d after t, or never when that is beyond counting.
func after(t, d time.Duration) time.Duration {
	if d >= never-t {
		return never
	}
	return t + d
}
