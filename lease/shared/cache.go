package shared

import (
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/internal/due"
)

// Cache keeps answers. It is safe for concurrent use.
type Cache struct {
	cfg     Config
	log     *slog.Logger
	backoff due.Backoff
	keys    sync.Pool // *[]byte
	counts  counts
	marks   marks
	events  atomic.Int64 // since when the server tells of changes; 0 = it does not

	mu        sync.RWMutex
	entries   map[string]*entry
	callers   map[string]*caller // by token
	accessors map[string]*caller
	leases    map[string]*entry
	values    map[string]*value
	groups    map[string]map[*value]struct{}
	flights   map[string]*Flight
	barred    map[string]time.Duration // tokens that are never served KV secrets, until when
	order     *list.List               // of *entry, the least recently used in front, roughly
	aside     *list.List               // those that are served to nobody, only kept alive
	queue     due.Queue[*entry]
	size      int64
	shelf     *shelf
	header    http.Header   // of the last answer kept: equal ones share it
	wake      chan struct{} // the queue changed

	life   context.Context // of background work; nil before Run
	closed bool
	work   sync.WaitGroup
}

// Stats counts what happened since the start.
type Stats struct {
	Hits, Misses uint64 // answered from the cache, or by Vault although it could have been
	Joined       uint64 // of the hits: by waiting for an equal request
	Renewed      uint64
	Entries      int64
	Bytes        int64
	Events       bool // the server tells of changes
}

type counts struct{ hits, misses, joined, renewed atomic.Uint64 }

// New checks cfg. Run must be running for leases to be renewed.
func New(cfg Config) (*Cache, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure cache: %w", err)
	}
	c := &Cache{
		cfg: cfg, log: cfg.Logger,
		backoff: due.Backoff{Min: cfg.MinBackoff, Max: cfg.MaxBackoff, Random: cfg.random},
		keys:    sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }},
		barred:  map[string]time.Duration{}, wake: make(chan struct{}, 1),
	}
	c.marks.seed = maphash.MakeSeed()
	c.reset()
	if cfg.Persist != nil {
		c.shelf = &shelf{
			to: cfg.Persist, entries: map[*entry]struct{}{}, values: map[*value]struct{}{},
			gone: map[string]struct{}{}, wake: make(chan struct{}, 1),
		}
		c.restore(cfg.Persist.Load())
	}
	return c, nil
}

// reset makes all maps new. Callers hold mu, or are New.
func (c *Cache) reset() {
	c.entries, c.leases = map[string]*entry{}, map[string]*entry{}
	c.callers, c.accessors = map[string]*caller{}, map[string]*caller{}
	c.values, c.groups = map[string]*value{}, map[string]map[*value]struct{}{}
	c.flights, c.order, c.aside = map[string]*Flight{}, list.New(), list.New()
	c.queue, c.size = due.Queue[*entry]{}, 0
}

// Stats returns the counters.
func (c *Cache) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Stats{
		Hits: c.counts.hits.Load(), Misses: c.counts.misses.Load(), Joined: c.counts.joined.Load(),
		Renewed: c.counts.renewed.Load(), Entries: int64(len(c.entries)), Bytes: c.size, Events: c.events.Load() > 0,
	}
}

// Serve answers r from the cache; false when it cannot.
func (c *Cache) Serve(w http.ResponseWriter, r *Request) bool {
	if r.Fresh {
		return false
	}
	key := c.keys.Get().(*[]byte)
	*key = r.appendKey((*key)[:0])
	c.mu.RLock()
	e := c.entries[string(*key)]
	c.mu.RUnlock()
	c.keys.Put(key)
	if e == nil {
		return false
	}
	now := c.cfg.clock()
	a := e.ready(now)
	if a != nil && r.AtMost > 0 && len(a.body) > r.AtMost {
		return false
	}
	if e.value != nil {
		if a == nil || !e.caller.trusted(now) || !c.fresh(e.value, a, now) {
			return false
		}
		c.refreshAhead(e, a, r, now)
	}
	if a == nil {
		return false
	}
	e.used.Store(true)
	c.counts.hits.Add(1)
	a.write(w, now)
	return true
}

// Empty reports whether there is nothing that Serve could find.
func (c *Cache) Empty() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries) == 0
}

// fresh reports whether a KV secret's answer is young enough.
func (c *Cache) fresh(v *value, a *Answer, now time.Duration) bool {
	return now-a.at < c.limit(v, a)
}

// limit is how old a KV secret's answer may be.
func (c *Cache) limit(v *value, a *Answer) time.Duration {
	if since := c.events.Load(); since > 0 && a.at > time.Duration(since) && v.followed.Load() == since {
		return max(c.cfg.MaxAge, c.cfg.MaxAgeEvents)
	}
	return c.cfg.MaxAge
}

// background runs f and is waited for at the end; false when it is too late or too early.
func (c *Cache) background(f func(context.Context)) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.life == nil || c.closed {
		return false
	}
	ctx := c.life
	c.work.Go(func() { f(ctx) })
	return true
}
