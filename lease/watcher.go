package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/envexec/envexec/secret"
)

// Watcher is one reader's view of the Store. Its methods may be called from
// several goroutines. Get one with Store.Watch.
type Watcher struct {
	s       *Store
	changed chan struct{} // one slot

	// guarded by s.mu
	keys   map[secret.Key]*entry
	dirty  map[secret.Key]struct{}
	epochs map[uint64]int // how many of keys depend on each login
	epoch  uint64         // as last told
}

// Watch returns a new reader. Close it when done with it.
func (s *Store) Watch() *Watcher {
	w := &Watcher{
		s: s, changed: make(chan struct{}, 1),
		keys: map[secret.Key]*entry{}, dirty: map[secret.Key]struct{}{}, epochs: map[uint64]int{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, w)
	w.epoch = w.oldest()
	return w
}

// Get returns the secret, waiting for the first token and the first answer. What
// heals by waiting is waited for until ctx ends; the error then tells the last
// failure. An answer that does not heal comes back at once as an *AnswerError,
// which wraps secret.ErrMissing or secret.ErrForbidden where it is one of these,
// and the secret is tried again, ever more slowly: Changed tells when it is there.
// A secret once had is never taken back: later failures show in Status only.
func (w *Watcher) Get(ctx context.Context, req secret.Request) (*secret.Secret, error) {
	for first := true; ; first = false {
		w.s.mu.Lock()
		e := w.want(req)
		if first && errors.Is(e.refuse, secret.ErrUncertain) && e.value == nil {
			e.refuse = nil
			w.s.fetchSoon(e, w.s.now())
			w.s.rearm()
		}
		value, refuse, last := e.value, e.refuse, e.err
		var wait <-chan struct{}
		if value == nil && refuse == nil {
			wait = e.waiting()
		}
		w.s.mu.Unlock()
		switch {
		case value != nil:
			return value, nil
		case refuse != nil:
			return nil, refuse
		}
		select {
		case <-wait:
		case <-w.s.fallbackTimer(e):
			w.s.giveUpWaiting(e)
		case <-w.s.done:
			return nil, fmt.Errorf("%s: %w", req, ErrClosed)
		case <-ctx.Done():
			if last == nil {
				last = w.s.lastError(e)
			}
			if last != nil {
				return nil, fmt.Errorf("%w: %w", context.Cause(ctx), last)
			}
			return nil, fmt.Errorf("%s: %w", req, context.Cause(ctx))
		}
	}
}

// Want asks for secrets without waiting: a Get for each will follow.
func (w *Watcher) Want(reqs ...secret.Request) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, req := range reqs {
		w.want(req)
	}
}

// want makes req one of w's secrets and returns its entry. s.mu is held.
func (w *Watcher) want(req secret.Request) *entry {
	s, key := w.s, req.Key()
	e := w.keys[key]
	if e != nil {
		s.wishRefresh(e, req.Refresh)
		return e
	}
	if e = s.entries[key]; e == nil {
		now := s.now()
		e = &entry{key: key, req: req, born: now, fetchAt: now, renewAt: never}
		s.entries[key] = e
		if s.shelf != nil {
			s.reuse(e)
			if s.shelf.down {
				s.fallBack(e, errSilent)
			}
		}
		s.requeue(e)
		s.rearm()
	}
	s.wishRefresh(e, req.Refresh)
	e.readers = append(e.readers, w)
	w.keys[key] = e
	if n := e.epoch(); n != 0 {
		w.epochs[n]++
		w.tellEpoch()
	}
	return e
}

// wishRefresh notes a reader's interval for e. s.mu is held.
func (s *Store) wishRefresh(e *entry, d time.Duration) {
	if e.wishRefresh(d, s.now()) {
		s.requeue(e)
		s.rearm()
	}
}

// Changed receives when something this reader got has a new value, or Epoch moved.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Take returns the keys with new values since the last Take, in no order.
func (w *Watcher) Take() []secret.Key {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	keys := make([]secret.Key, 0, len(w.dirty))
	for k := range w.dirty {
		keys = append(keys, k)
	}
	clear(w.dirty)
	return keys
}

// Epoch returns the oldest login that any secret in use depends on, or the
// newest login when none does; 0 before the first.
func (w *Watcher) Epoch() uint64 {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.oldest()
}

// Release says that these secrets are no longer used. The last reader's release
// ends a secret's schedule; its lease ends with the token.
func (w *Watcher) Release(keys ...secret.Key) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, k := range keys {
		w.release(k)
	}
	w.tellEpoch()
}

// Close releases all of w's secrets.
func (w *Watcher) Close() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for k := range w.keys {
		w.release(k)
	}
	w.s.readers = slices.DeleteFunc(w.s.readers, func(o *Watcher) bool { return o == w })
}

func (w *Watcher) release(k secret.Key) {
	e := w.keys[k]
	if e == nil {
		return
	}
	delete(w.keys, k)
	delete(w.dirty, k)
	w.count(e.epoch(), -1)
	e.readers = slices.DeleteFunc(e.readers, func(o *Watcher) bool { return o == w })
	if len(e.readers) == 0 {
		w.s.drop(e)
	}
}

// moved notes that e's value replaced old. s.mu is held.
func (w *Watcher) moved(e *entry, old *secret.Secret, changed bool) {
	if old != nil {
		w.count(old.Epoch, -1)
	}
	w.count(e.epoch(), 1)
	if changed {
		w.dirty[e.key] = struct{}{}
		w.tell()
	}
	w.tellEpoch()
}

// count adds n to the secrets that depend on a login.
func (w *Watcher) count(epoch uint64, n int) {
	if epoch == 0 {
		return
	}
	if w.epochs[epoch] += n; w.epochs[epoch] <= 0 {
		delete(w.epochs, epoch)
	}
}

// oldest computes Epoch. s.mu is held.
func (w *Watcher) oldest() uint64 {
	var low uint64
	for n := range w.epochs {
		if low == 0 || n < low {
			low = n
		}
	}
	if low == 0 && w.s.token != nil {
		low = w.s.token.Epoch
	}
	return low
}

// tellEpoch signals when Epoch moved. s.mu is held.
func (w *Watcher) tellEpoch() {
	if n := w.oldest(); n != w.epoch {
		w.epoch = n
		w.tell()
	}
}

func (w *Watcher) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
