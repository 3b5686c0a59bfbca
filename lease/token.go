package lease

import (
	"context"
	"errors"
	"time"

	"github.com/envexec/envexec/secret"
)

// WriteToken takes a new login. Static secrets stay as they are; what was
// refused is tried again; leases are fetched anew, and the old ones renewed with
// their own token until Retire. It does not wait for any of that.
func (s *Store) WriteToken(_ context.Context, t secret.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != nil && t.Epoch <= s.token.Epoch {
		return nil
	}
	now := s.now()
	s.token, s.tokenAt = &t, now
	if s.shelf != nil {
		s.shelf.down = false
	}
	for _, e := range s.entries {
		switch {
		case e.value == nil && errors.Is(e.refuse, secret.ErrUncertain): // only its reader may send it again
		case e.err != nil, bound0(e.value) && e.value.Epoch < t.Epoch:
			s.fetchSoon(e, now)
		}
	}
	for _, w := range s.readers {
		w.tellEpoch()
	}
	s.armed = never
	s.rearm()
	return nil
}

// bound0 is bound for a value that may not be there yet.
func bound0(s *secret.Secret) bool { return s != nil && bound(s) }

// Retire says that nobody uses secrets of logins before this epoch any more:
// their leases are no longer renewed and end with their token.
func (s *Store) Retire(before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.old {
		if e.epoch() < before {
			s.drop(e)
		}
	}
}

// Refresh reads secrets again now; without keys all that have no lease.
func (s *Store) Refresh(keys ...secret.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, k := range keys {
		if e := s.entries[k]; e != nil {
			s.fetchSoon(e, now)
		}
	}
	if len(keys) == 0 {
		for _, e := range s.entries {
			if e.req.Op != secret.Write && !bound0(e.value) {
				s.fetchSoon(e, now)
			}
		}
	}
	s.rearm()
}

// SetIntervals changes how often static secrets are read again and when in its life a
// lease or a certificate is replaced, as Config.StaticInterval, Config.RenewalThreshold
// and Config.CertMinRemaining, from the next answer of each secret on.
func (s *Store) SetIntervals(static time.Duration, threshold float64, certMin time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan.static, s.plan.threshold, s.plan.certMin = static, threshold, certMin
}

// RefreshAll reads all secrets that have no lease again and returns once each has
// been read, joined with what was refused. What heals by waiting is waited for
// until ctx or Run ends; readers have been told of every change by then.
func (s *Store) RefreshAll(ctx context.Context) error {
	after := map[*entry]uint64{}
	s.mu.Lock()
	for _, e := range s.entries {
		if e.req.Op != secret.Write && !bound0(e.value) {
			after[e] = e.flights
		}
	}
	s.mu.Unlock()
	s.Refresh()
	var errs []error
	for e, flights := range after {
		errs = append(errs, s.awaitFlight(ctx, e, flights))
	}
	return errors.Join(errs...)
}

// awaitFlight returns when a flight of e later than number flights has ended in
// an answer (nil) or a refusal, or e is gone.
func (s *Store) awaitFlight(ctx context.Context, e *entry, flights uint64) error {
	for {
		s.mu.Lock()
		over, refuse, wait := e.landed > flights || e.phase == gone, e.refuse, e.waiting()
		s.mu.Unlock()
		if over {
			return refuse
		}
		select {
		case <-wait:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Freeze ends all fetching of what there is already: from now on leases are kept alive
// as long as they can be, and nothing else is done.
func (s *Store) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = true
	for _, e := range s.entries {
		if e.phase == queued {
			s.requeue(e)
		}
	}
}
