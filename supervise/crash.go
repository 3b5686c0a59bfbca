package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// When says after which ends a program that ended by itself is started again,
// with systemd's meanings.
type When uint8

const (
	// Never is the default: the program's end is our end.
	Never When = iota
	// OnFailure is any code but 0, any signal but HUP, INT, TERM and PIPE, and a time-out.
	OnFailure
	// OnAbnormal is any signal but HUP, INT, TERM and PIPE, and a time-out.
	OnAbnormal
	// Always is any end.
	Always
)

var whenNames = [...]string{"no", "on-failure", "on-abnormal", "always"}

// String returns the word used in the configuration.
func (w When) String() string { return whenNames[w] }

// ParseWhen reads no, on-failure, on-abnormal or always.
func ParseWhen(s string) (When, error) {
	if i := slices.Index(whenNames[:], s); i >= 0 {
		return When(i), nil
	}
	return 0, fmt.Errorf("unknown restart condition %q: want no, on-failure, on-abnormal or always", s)
}

// Crash is the policy for a program that ends by itself. A rotation is never counted.
type Crash struct {
	Restart    When
	Backoff    time.Duration // first delay; default 1s. Delays are random between 100ms and the present limit
	MaxBackoff time.Duration // the limit doubles up to this; default 60s
	ResetAfter time.Duration // a program that lived so long starts again at Backoff; default 60s
	Limit      int           // so many ends within Within are given up on; 0 = no limit
	Within     time.Duration // default 10 times Limit times MaxBackoff is never reached, so 10m
	Success    []Status      // ends that count as success beside exit 0
	Prevent    []Status      // ends after which there is never a restart
	Force      []Status      // ends after which there always is one
}

const minBackoff = 100 * time.Millisecond

func randomFraction() float64 { return rand.Float64() } //nolint:gosec // spreads load, guards nothing

func (c *Crash) fill() {
	orDefault(&c.Backoff, time.Second)
	orDefault(&c.MaxBackoff, time.Minute)
	orDefault(&c.ResetAfter, time.Minute)
	orDefault(&c.Within, 10*time.Minute)
}

func (c *Crash) check() error {
	var errs []error
	if c.MaxBackoff < c.Backoff {
		errs = append(errs, fmt.Errorf("maximum restart back-off %v is shorter than the first %v", c.MaxBackoff, c.Backoff))
	}
	if c.Limit < 0 {
		errs = append(errs, fmt.Errorf("restart limit %d is negative", c.Limit))
	}
	return errors.Join(errs...)
}

// again reports whether a program that ended so is started once more.
func (c *Crash) again(st Status, timedOut bool) bool {
	clean := st.Success() || slices.Contains(c.Success, st) ||
		st.Signal == syscall.SIGHUP || st.Signal == syscall.SIGINT || st.Signal == syscall.SIGTERM || st.Signal == syscall.SIGPIPE
	switch {
	case slices.Contains(c.Prevent, st):
		return false
	case slices.Contains(c.Force, st), c.Restart == Always:
		return true
	case c.Restart == Never:
		return false
	case timedOut:
		return true
	case clean:
		return false
	}
	return c.Restart == OnFailure || st.Signal != 0
}

// rareDelay is for what costs a service's uptime each time: stopping a program
// that works to try one that failed before. It is at least half of a limit that
// doubles up to half an hour.
func (c *Crash) rareDelay(attempt int, fraction float64) time.Duration {
	limit := max(c.MaxBackoff, maxRareDelay)
	if attempt < 32 {
		limit = min(limit, c.Backoff<<attempt)
	}
	return max(minBackoff, limit/2+time.Duration(fraction*float64(limit/2)))
}

const maxRareDelay = 30 * time.Minute

// delay is full jitter below a limit that doubles with every attempt (0, 1, …).
func (c *Crash) delay(attempt int, fraction float64) time.Duration {
	limit := c.MaxBackoff
	if attempt < 32 {
		limit = min(limit, c.Backoff<<attempt)
	}
	return max(minBackoff, time.Duration(fraction*float64(limit)))
}
