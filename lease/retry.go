package lease

import "time"

// backoff is how long a failed thing waits: full jitter above a floor.
type backoff struct {
	min, max time.Duration
	random   func() float64 // [0,1)
}

// wait returns the pause after the n-th failure in a row (n from 1), at least
// half of min and at most limit or max, whichever is less. limit 0 = max.
// A server's own wish (Retry-After) is a floor, with a little jitter above it
// so that those it was told to do not come back together.
func (b backoff) wait(n int, limit, wish time.Duration) time.Duration {
	if limit <= 0 || limit > b.max {
		limit = b.max
	}
	floor, ceiling := b.min/2, b.min
	for range n - 1 {
		if ceiling >= limit/2 {
			ceiling = limit
			break
		}
		ceiling *= 2
	}
	ceiling = max(min(ceiling, limit), b.min)
	d := floor + time.Duration(b.random()*float64(ceiling-floor))
	if wish > 0 {
		wish = min(wish, maxWish)
		d = max(d, wish+time.Duration(b.random()*float64(wish)/10))
	}
	return d
}

// maxWish bounds what a server may ask for with Retry-After.
const maxWish = 5 * time.Minute
