package lease

import "time"

// EndsIn tells how long all of these leases still work, as far as the Store
// knows: until the first of them ends. It is 0 when one is over, was revoked, or
// hung on a token Vault does not know any more, and false when none has an end.
func (s *Store) EndsIn(leases ...string) (left time.Duration, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := map[string]*entry{}
	for _, e := range s.entries {
		s.bind(live, e)
	}
	for e := range s.old {
		s.bind(live, e)
	}
	left, now := never, s.now()
	for _, id := range leases {
		e := live[id]
		switch {
		case e == nil:
			return 0, true
		case e.lease.end == 0 || e.lease.end == never:
		default:
			left = min(left, max(e.lease.end-now, 0))
		}
	}
	if left == never {
		return 0, false
	}
	return left, true
}

// bind notes e under its lease, unless its token is dead. s.mu is held.
func (s *Store) bind(live map[string]*entry, e *entry) {
	if bound0(e.value) && (e.value.Epoch == 0 || e.value.Epoch > s.invalid) {
		live[e.value.LeaseID] = e
	}
}
