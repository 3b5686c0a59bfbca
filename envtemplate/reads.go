package envtemplate

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// read is one secret as all units see it. A new value is a new read, so units that
// hold the same read hold the same answer.
type read struct {
	key   secret.Key
	req   secret.Request
	done  chan struct{} // closed when sec or err is there
	users []*unit       // the loop's: who runs again when it changes

	// guarded by reads.mu once done is closed; sec is then replaced by equal ones only
	sec *secret.Secret
	err error

	recalled bool // the files of an earlier life have it, the Source was not asked
	rejected bool // and it will not do
}

func (r *read) loaded() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *read) add(u *unit) { r.users = append(r.users, u) }

func (r *read) remove(u *unit) {
	if i := slices.Index(r.users, u); i >= 0 {
		r.users = slices.Delete(r.users, i, i+1)
	}
}

// reads are the secrets in use. get is called by running units, the rest by the loop.
type reads struct {
	ctx    context.Context
	source Source
	flying sync.WaitGroup
	landed chan landing

	mu    sync.Mutex
	byKey map[secret.Key]*read
	ends  map[*read]time.Time // when those recalled are to be replaced
}

// landing is what Source.Get returned.
type landing struct {
	read  *read
	sec   *secret.Secret
	err   error
	again bool // an answer to again
}

func newReads(ctx context.Context, source Source) *reads {
	return &reads{ctx: ctx, source: source, landed: make(chan landing), byKey: map[secret.Key]*read{}, ends: map[*read]time.Time{}}
}

// want returns the read for req, whose key is key, and asks the Source if it is new.
func (rs *reads) want(key secret.Key, req secret.Request) *read {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.byKey[key]; r != nil {
		return r
	}
	r := &read{key: key, req: req, done: make(chan struct{})}
	rs.byKey[key] = r
	rs.flying.Go(func() { rs.ask(r, false) })
	return r
}

// recall makes s the answer to req until end, unless there is one already.
func (rs *reads) recall(req secret.Request, s *secret.Secret, end time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	key := req.Key()
	if rs.byKey[key] != nil {
		return
	}
	r := &read{key: key, req: req, done: make(chan struct{}), sec: s, recalled: true}
	close(r.done)
	rs.byKey[key], rs.ends[r] = r, end
}

// endsIn is how long what was recalled as r is used.
func (rs *reads) endsIn(r *read) time.Duration {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return time.Until(rs.ends[r]).Round(time.Second)
}

// reject says that what was recalled as r will not do, and asks for it as again does.
func (rs *reads) reject(r *read) int {
	rs.mu.Lock()
	known := rs.byKey[r.key] == r && !r.rejected
	r.rejected = true
	delete(rs.ends, r)
	rs.mu.Unlock()
	if !known {
		return 0 // asked for already
	}
	return rs.again([]secret.Key{r.key})
}

// ended takes the keys of what was recalled and is to be replaced, and tells when the
// next is; zero = never.
func (rs *reads) ended(now time.Time) (keys []secret.Key, next time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r, end := range rs.ends {
		switch {
		case rs.byKey[r.key] != r:
			delete(rs.ends, r)
		case !end.After(now):
			delete(rs.ends, r)
			keys = append(keys, r.key)
		case next.IsZero() || end.Before(next):
			next = end
		}
	}
	return keys, next
}

// again asks for keys once more and returns how many answers will land; the present
// reads stay until then.
func (rs *reads) again(keys []secret.Key) int {
	var known []*read
	rs.mu.Lock()
	for _, k := range keys {
		if r := rs.byKey[k]; r != nil {
			known = append(known, r)
		}
	}
	rs.mu.Unlock()
	rs.flying.Go(func() { // the Source has the answers at hand: one goroutine is enough
		for _, r := range known {
			rs.ask(r, true)
		}
	})
	return len(known)
}

func (rs *reads) ask(r *read, again bool) {
	sec, err := rs.source.Get(rs.ctx, r.req)
	select {
	case rs.landed <- landing{r, sec, err, again}:
	case <-rs.ctx.Done():
	}
}

// settle applies a landing and returns the units it concerns: the read is there for
// the first time, or has another value.
func (rs *reads) settle(l landing) (users []*unit, first bool) {
	old := l.read
	rs.mu.Lock()
	defer rs.mu.Unlock()
	switch {
	case rs.byKey[old.key] != old: // replaced or released meanwhile
		return nil, false
	case !old.loaded():
		old.sec, old.err = l.sec, l.err
		close(old.done)
		return slices.Clone(old.users), true
	case l.err != nil && !old.rejected:
		if old.err != nil { // else: what was once had is kept
			old.err = l.err
		}
		return nil, false
	case l.err == nil && old.err == nil && sameSecret(old.sec, l.sec):
		old.sec = l.sec // a renewal, or a new login with equal values
		return nil, false
	}
	fresh := &read{key: old.key, req: old.req, done: make(chan struct{}), sec: l.sec, err: l.err, users: old.users}
	close(fresh.done)
	rs.byKey[old.key] = fresh
	old.users = nil
	for _, u := range fresh.users {
		u.uses[slices.Index(u.uses, old)] = fresh
	}
	return slices.Clone(fresh.users), false
}

func sameSecret(a, b *secret.Secret) bool {
	return a == b || a.LeaseID == b.LeaseID && reflect.DeepEqual(a.Data, b.Data)
}

// current returns what the key of r means now, nil if nobody uses it.
func (rs *reads) current(r *read) *read {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.byKey[r.key]
}

// get waits for r on behalf of a running unit.
func (rs *reads) get(ctx context.Context, r *read) (*secret.Secret, error) {
	select {
	case <-r.done:
		return rs.value(r)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// value is what r has; r is loaded.
func (rs *reads) value(r *read) (*secret.Secret, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return r.sec, r.err
}

// release forgets the reads without users and tells the Source.
func (rs *reads) release() {
	rs.mu.Lock()
	var keys []secret.Key
	for key, r := range rs.byKey {
		if len(r.users) == 0 {
			delete(rs.byKey, key)
			keys = append(keys, key)
		}
	}
	rs.mu.Unlock()
	if len(keys) > 0 {
		rs.source.Release(keys...)
	}
}

// outlived returns the keys whose secrets depend on a login before epoch.
func (rs *reads) outlived(epoch uint64) []secret.Key {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var keys []secret.Key
	for key, r := range rs.byKey {
		if r.loaded() && r.sec != nil && r.sec.Epoch != 0 && r.sec.Epoch < epoch {
			keys = append(keys, key)
		}
	}
	return keys
}
