package due

import "time"

// Backoff is how long a failed thing waits: full jitter above a floor.
type Backoff struct {
	Min, Max time.Duration
	Random   func() float64 // [0,1)
}

// MaxWish bounds what a server may ask for with Retry-After.
const MaxWish = 5 * time.Minute

// Wait returns the pause after the n-th failure in a row (n from 1): at least half
// of Min, at most limit or Max, whichever is less; limit 0 = Max. A server's own
// wish is a floor, with a little jitter above it so that those it was told to do
// not come back together.
func (b Backoff) Wait(n int, limit, wish time.Duration) time.Duration {
	if limit <= 0 || limit > b.Max {
		limit = b.Max
	}
	ceiling := b.Min
	for i := 1; i < n && ceiling < limit; i++ {
		ceiling *= 2
	}
	ceiling = max(min(ceiling, limit), b.Min)
	d := b.Min/2 + time.Duration(b.Random()*float64(ceiling-b.Min/2))
	if wish > 0 {
		wish = min(wish, MaxWish)
		d = max(d, wish+time.Duration(b.Random()*float64(wish)/10))
	}
	return d
}
