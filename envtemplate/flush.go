package envtemplate

import (
	"context"
	"slices"
	"time"
)

// flush is one call of Flush.
type flush struct {
	until time.Time     // then units that cannot run hold it up no longer; zero: some still rest
	done  chan struct{} // closed when it is over
}

// Flush returns once what the Source has told of before the call is rendered and in
// Generations, after the units' quiet times. A secret that cannot be had holds it up as
// long as it holds up a Generation. It also returns when ctx or Run ends.
func (r *Renderer) Flush(ctx context.Context) {
	f := &flush{done: make(chan struct{})}
	select {
	case r.flushes <- f:
	case <-r.ended:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-f.done:
	case <-r.ended:
	case <-ctx.Done():
	}
}

// flush takes one in: news that no one has looked at yet belongs to it.
func (l *loop) flush(f *flush) {
	l.changed()
	l.flushing = append(l.flushing, f)
}

// flushed ends the flushes that nothing holds up any more.
func (l *loop) flushed() {
	if len(l.flushing) == 0 || l.touched {
		return
	}
	now := time.Now()
	resting := slices.ContainsFunc(l.units, func(u *unit) bool { return !u.changedAt.IsZero() })
	l.flushing = slices.DeleteFunc(l.flushing, func(f *flush) bool {
		switch {
		case resting:
			f.until = time.Time{}
			return false
		case f.until.IsZero():
			f.until = now.Add(l.cfg.settle)
		}
		over := l.pending+l.asked == 0 || !now.Before(f.until)
		if over {
			close(f.done)
		}
		return over
	})
}
