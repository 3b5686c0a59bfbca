package lease

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// Cache keeps records over a restart; a sealed.File is one. The Store calls Load
// once, in New, and Save from one goroutine at a time. The caller closes it after
// Run has ended.
type Cache interface {
	Load() map[string][]byte
	Save(put map[string][]byte, remove []string) error
}

const (
	// gather is how long changes are collected for one Save.
	gather = 200 * time.Millisecond
	// saveAgain is the pause after a Save that failed.
	saveAgain = time.Minute
	// futureSlack is how far ahead of the wall clock a record may claim to be.
	futureSlack = 5 * time.Minute
)

// shelf is the Store's side of the Cache. Store.mu guards it. nil = no cache.
type shelf struct {
	cache   Cache
	maxAge  time.Duration
	records map[string][]byte // from the last life, not used yet
	expired []string          // to be removed
	dirty   map[*entry]struct{}
	leased  map[string]struct{} // records that die with our tokens
	wake    chan struct{}
	down    bool          // told that Vault does not answer
	fell    chan struct{} // closed when Vault is no longer waited for
	gaveUp  sync.Once     // closes it
	warned  bool
}

// giveUp says that Vault is no longer waited for.
func (sh *shelf) giveUp() { sh.gaveUp.Do(func() { close(sh.fell) }) }

// kept is a record: after eight bytes of ReadAt in seconds, this as JSON.
type kept struct {
	Data     map[string]any
	Warnings []string  `json:",omitempty"`
	KV       int       `json:",omitempty"`
	Version  int       `json:",omitempty"`
	LeaseID  string    `json:",omitempty"`
	Ends     time.Time `json:",omitzero"` // of the lease or certificate
	Due      time.Time `json:",omitzero"` // when to replace a certificate
}

func newShelf(c Cache, maxAge time.Duration) *shelf {
	if c == nil {
		return nil
	}
	sh := &shelf{
		cache: c, maxAge: maxAge, records: c.Load(),
		dirty: map[*entry]struct{}{}, leased: map[string]struct{}{}, wake: make(chan struct{}, 1),
		fell: make(chan struct{}),
	}
	for name, rec := range sh.records {
		if _, ok := sh.age(rec); !ok {
			sh.expired = append(sh.expired, name)
			delete(sh.records, name)
		}
	}
	return sh
}

// age returns when a record was last confirmed, unless it is too old to be used.
func (sh *shelf) age(rec []byte) (readAt time.Time, ok bool) {
	if len(rec) < 8 {
		return time.Time{}, false
	}
	readAt = time.Unix(int64(binary.BigEndian.Uint64(rec)), 0) //nolint:gosec // any value is judged below
	age := time.Since(readAt)
	return readAt, age <= sh.maxAge && age > -futureSlack
}

// mark notes that e's record is out of date. s.mu is held.
func (s *Store) mark(e *entry, changed bool, now time.Duration) {
	if s.shelf == nil || e.superseded || !changed && now-e.savedAt < s.shelf.maxAge/8 {
		return
	}
	e.savedAt = now
	s.shelf.dirty[e] = struct{}{}
	select {
	case s.shelf.wake <- struct{}{}:
	default:
	}
}

// saver writes what changed to the cache until ctx ends, and once more then.
func (s *Store) saver(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.shelf.wake:
			if err := s.save(); err != nil {
				s.log.Warn("sealed cache was not written", "error", err, "retry_in", saveAgain)
				pause(ctx, saveAgain)
			}
			pause(ctx, gather)
		}
	}
	if err := s.save(); err != nil {
		s.log.Warn("sealed cache was not written", "error", err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// save writes all dirty entries; after an error they are dirty again.
func (s *Store) save() error {
	sh, records := s.shelf, map[string]kept{}
	times := map[string]time.Time{}
	s.mu.Lock()
	now, wall := s.now(), time.Now()
	taken, expired := sh.dirty, sh.expired
	sh.dirty, sh.expired = map[*entry]struct{}{}, nil
	for e := range taken {
		records[string(e.key)], times[string(e.key)] = e.keep(now, wall), e.value.ReadAt
		if bound(e.value) {
			sh.leased[string(e.key)] = struct{}{}
		}
	}
	s.mu.Unlock()
	put := make(map[string][]byte, len(records))
	var err error
	for name, k := range records {
		text, jerr := json.Marshal(k)
		if err = errors.Join(err, jerr); jerr == nil {
			put[name] = append(binary.BigEndian.AppendUint64(nil, uint64(times[name].Unix())), text...) //nolint:gosec // our own clock
		}
	}
	if len(put)+len(expired) > 0 {
		if serr := sh.cache.Save(put, expired); serr != nil {
			err = errors.Join(err, serr)
			s.mu.Lock()
			sh.expired = append(sh.expired, expired...)
			for e := range taken {
				s.mark(e, true, now)
			}
			s.mu.Unlock()
		}
	}
	return err
}

// keep makes e's record. Moments become wall clock times: the other clock does not outlive a boot.
func (e *entry) keep(now time.Duration, wall time.Time) kept {
	v := e.value
	k := kept{Data: v.Data, Warnings: v.Warnings, KV: v.KV, Version: v.Version, LeaseID: v.LeaseID}
	if end := e.lease.end; end != 0 && end != never && !e.lease.rolls {
		k.Ends = wall.Add(end - now)
		if e.req.Op == secret.Write && !bound(v) {
			k.Due = wall.Add(e.fetchAt - now)
		}
	}
	return k
}
