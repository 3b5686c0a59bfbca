package lease

import (
	"reflect"
	"time"

	"github.com/envexec/envexec/internal/due"
	"github.com/envexec/envexec/secret"
)

// phase says where an entry is.
type phase uint8

const (
	queued phase = iota // in Store.queue
	flying              // a worker has it
	held                // due, but slow: waits for a place in the slow lane
	parked              // waits for a new token, or for nothing at all
	gone                // dropped; a flight that still runs for it changes nothing
)

// entry is one secret and its schedule. Store.mu guards every field but key and
// req, which never change.
type entry struct {
	due.Moment // its place in Store.queue

	key secret.Key
	req secret.Request

	phase   phase
	slow    bool          // its last flight was slow
	wanted  bool          // somebody asked for a fetch beside the schedule; one in flight does not count
	flights uint64        // numbers its flights
	landed  uint64        // the last flight that ended in an answer or a refusal
	stale   int           // reads in a row that found a rotated password unrotated
	refresh time.Duration // the shortest wish of its readers; 0 = the Store's default

	value  *secret.Secret
	token  *secret.Token // value was read with it
	refuse error         // the last fetch was refused, for good as far as we can tell
	err    error         // the last failure of any kind; nil after success

	restored bool          // value is of an earlier life
	born     time.Duration // when it was first asked for
	savedAt  time.Duration // when its record was last marked for the cache

	fetchAt, renewAt   time.Duration // when each is due; never = not at all
	fetchFails, rFails int           // failures in a row
	lease              lease

	superseded bool // not in Store.entries: an old lease kept alive until nobody uses it
	readers    []*Watcher
	wait       chan struct{} // closed at the next outcome; nil when nobody waits
}

// lease is the life of what an entry holds. The zero value: it has no end.
type lease struct {
	start, end time.Duration // end 0 = none
	ttl        time.Duration // as first granted; what renewals ask for
	rolls      bool          // Vault rotates the value itself at end
}

// wake lets everybody who waits for an outcome look again.
func (e *entry) wake() {
	if e.wait != nil {
		close(e.wait)
		e.wait = nil
	}
}

// waiting returns the channel that closes at e's next outcome.
func (e *entry) waiting() <-chan struct{} {
	if e.wait == nil {
		e.wait = make(chan struct{})
	}
	return e.wait
}

// wishRefresh notes a reader's interval: the shortest wins. It reports whether
// that brings the next fetch forward.
func (e *entry) wishRefresh(d, now time.Duration) bool {
	if d <= 0 || e.refresh > 0 && d >= e.refresh {
		return false
	}
	e.refresh = d
	if e.phase != queued || e.value == nil || bound(e.value) || e.req.Op == secret.Write || e.fetchAt <= now+d {
		return false
	}
	e.fetchAt = now + d
	return true
}

// epoch is the login the value dies with, 0 for none.
func (e *entry) epoch() uint64 {
	if e.value == nil {
		return 0
	}
	return e.value.Epoch
}

// bound reports whether the value dies with its token.
func bound(s *secret.Secret) bool { return s.LeaseID != "" }

// rotated reports whether Vault itself rotates this value and tells when.
func rotated(data map[string]any) bool {
	if _, ok := data["ttl"]; !ok {
		return false
	}
	_, period := data["rotation_period"]
	_, plan := data["rotation_schedule"]
	return period || plan
}

// equal reports whether two answers give a reader the same values.
func equal(a, b *secret.Secret) bool {
	x, y := a.Values(), b.Values()
	if len(x) != len(y) {
		return false
	}
	counting := a.KV == 0 && rotated(a.Data) && rotated(b.Data)
	for k, v := range x {
		if counting && (k == "ttl" || k == "last_vault_rotation") {
			continue // counts down by itself
		}
		w, ok := y[k]
		if !ok || !reflect.DeepEqual(v, w) {
			return false
		}
	}
	return true
}
