package lease

import (
	"cmp"
	"slices"
	"time"
)

// EntryStatus is what may be shown of one secret: no values.
type EntryStatus struct {
	Request  string        // operation, path and version
	Schedule string        // what will be done with it, in words
	Known    bool          // there is a value
	Age      time.Duration // since the value was last confirmed
	NextIn   time.Duration // until the next request for it; negative = none planned
	EndsIn   time.Duration // until its lease or certificate ends; 0 = it has no end
	Epoch    uint64        // the login it depends on; 0 = none
	Version  int           // KV v2
	Restored bool          // the value is the sealed cache's
	Failures int           // in a row
	Error    string        // the last failure; "" after success
}

// Status returns the state of every secret, by name.
func (s *Store) Status() []EntryStatus {
	s.mu.Lock()
	now := s.now()
	all := make([]EntryStatus, 0, len(s.entries))
	for _, e := range s.entries {
		st := e.status(now)
		st.Schedule = s.plan.words(e)
		all = append(all, st)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b EntryStatus) int { return cmp.Compare(a.Request, b.Request) })
	return all
}

func (e *entry) status(now time.Duration) EntryStatus {
	st := EntryStatus{Request: e.req.String(), NextIn: -1, Epoch: e.epoch(), Restored: e.restored, Failures: max(e.fetchFails, e.rFails)}
	if e.At != never && e.phase != parked {
		st.NextIn = max(e.At-now, 0)
	}
	if e.value != nil {
		st.Known, st.Version = true, e.value.Version
		st.Age = max(time.Since(e.value.ReadAt), 0)
	}
	if e.lease.end != 0 && e.lease.end != never {
		st.EndsIn = max(e.lease.end-now, time.Nanosecond)
	}
	if e.err != nil {
		st.Error = e.err.Error()
	}
	return st
}

// lastError returns e's last failure.
func (s *Store) lastError(e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.err
}

// grumble keeps an outage from filling the log: a thousand secrets fail at once.
type grumble struct {
	until      time.Duration
	suppressed int
}

// grumbleEvery is the least time between two warnings about failures that heal by waiting.
const grumbleEvery = 5 * time.Second

// grumbling returns what to say about a failure; news: the last one was another, or none. s.mu is held.
func (s *Store) grumbling(e *entry, why *failure, wait time.Duration, news bool) func() {
	// A refusal before there was a value is its reader's to tell.
	now, hidden, loud := s.now(), 0, news && why.kind == refused && e.value != nil
	if why.kind != refused {
		if loud = now >= s.quiet.until; loud {
			hidden, s.quiet = s.quiet.suppressed, grumble{until: now + grumbleEvery}
		} else {
			s.quiet.suppressed++
		}
	}
	return func() {
		s.cfg.Trace.retry(e.key, wait, why.err)
		level := s.log.Debug
		if loud {
			level = s.log.Warn
		}
		level("secret cannot be had yet", "error", why.err, "retry_in", wait.Round(time.Millisecond), "suppressed", hidden)
	}
}
