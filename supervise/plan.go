package supervise

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Budget allows at most N rotations within Within; N = 0 allows any number.
type Budget struct {
	N      int
	Within time.Duration
}

// Window is a time in which rotations are allowed, by the clock on the wall.
type Window struct {
	Days     []time.Weekday // the window opens on these; empty = every day
	From     time.Duration  // after midnight
	Length   time.Duration  // may reach into the next day
	Location *time.Location // nil = UTC
}

// horizon is how many days ahead the next opening of a window is looked for.
const horizon = 8

// open returns the first moment at or after t in which the window is open.
func (w Window) open(t time.Time) time.Time {
	loc := w.Location
	if loc == nil {
		loc = time.UTC
	}
	local := t.In(loc)
	// A window that opened yesterday may still be open.
	for day := -1; day <= horizon; day++ {
		from := time.Date(local.Year(), local.Month(), local.Day()+day, 0, 0, int(w.From/time.Second), 0, loc)
		if len(w.Days) > 0 && !slices.Contains(w.Days, from.Weekday()) {
			continue
		}
		if t.Before(from.Add(w.Length)) {
			if t.After(from) {
				return t
			}
			return from
		}
	}
	return t
}

// permitted returns the first moment at or after t that budget and windows
// allow, given the rotations so far (oldest first).
func (c *Config) permitted(t time.Time, rotations []time.Time) time.Time {
	if n := c.Budget.N; n > 0 {
		if used := recent(rotations, t, c.Budget.Within); len(used) >= n {
			t = used[len(used)-n].Add(c.Budget.Within)
		}
	}
	if len(c.Windows) == 0 {
		return t
	}
	var first time.Time
	for _, w := range c.Windows {
		if at := w.open(t); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	// The wall clock chose the moment, the monotonic one has to wait for it.
	return t.Add(first.Sub(t))
}

func (c *Config) checkPlan() error {
	var errs []error
	if c.Budget.N < 0 || (c.Budget.N > 0 && c.Budget.Within <= 0) {
		errs = append(errs, fmt.Errorf("rotation budget of %d in %v makes no sense", c.Budget.N, c.Budget.Within))
	}
	for _, w := range c.Windows {
		if w.Length <= 0 || w.From < 0 || w.From >= 24*time.Hour {
			errs = append(errs, fmt.Errorf("maintenance window from %v for %v makes no sense", w.From, w.Length))
		}
	}
	return errors.Join(errs...)
}
