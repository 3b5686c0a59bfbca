package shared

import (
	"container/list"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/internal/due"
)

// entry is one caller's answer to one request: a lease, a created token, or a ticket
// to a KV secret. Cache.mu guards what is neither atomic nor fixed at its making.
type entry struct {
	due.Moment // when to renew or to end it; leases and tokens only

	key    string        // "" = only kept on the schedule, served to nobody
	full   string        // the path with its namespace
	ns     string        // the header's namespace, for renewals
	caller *caller       // asked with its token; nil = a caller we know nothing of
	place  *list.Element // in Cache.order, or aside
	used   atomic.Bool
	gone   atomic.Bool

	answer atomic.Pointer[Answer] // leases and tokens
	end    atomic.Int64           // of the lease, on the clock; 0 = none
	lease  string
	made   *caller // the token this answer created
	ttl    time.Duration
	last   bool // no further renewal
	busy   bool // being renewed
	fails  int

	value *value       // tickets: what it admits to
	until atomic.Int64 // tickets: when it must be earned again
}

// value is a KV secret's answer, one for all who may read it.
type value struct {
	key    string // the header's namespace, path, query
	ns     string // the header's namespace
	groups []string
	answer atomic.Pointer[Answer]
	renew  atomic.Bool // being re-read
	asked  atomic.Bool // whether the server tells of it is being found out
	// followed is since when the server tells of this secret's changes; 0 = it does not.
	followed atomic.Int64
	tickets  map[*entry]struct{}
}

// ready returns the answer when it may be served as far as e itself knows.
func (e *entry) ready(now time.Duration) *Answer {
	if e.gone.Load() {
		return nil
	}
	if e.value != nil {
		if now >= time.Duration(e.until.Load()) {
			return nil
		}
		return e.value.answer.Load()
	}
	if end := time.Duration(e.end.Load()); end != 0 && now >= end {
		return nil
	}
	return e.answer.Load()
}

// cost is about how much memory e takes.
func (e *entry) cost() int64 {
	n := int64(len(e.key)+len(e.full)+len(e.lease)) + 500
	if a := e.answer.Load(); a != nil {
		n += a.cost()
	}
	return n
}

// add publishes e. mu is held.
func (c *Cache) add(e *entry) {
	if e.key != "" {
		if old := c.entries[e.key]; old != nil {
			c.unlink(old)
		}
		c.entries[e.key] = e
	}
	if e.lease != "" {
		if old := c.leases[e.lease]; old != nil { // told twice, by an upstream with a cache of its own
			c.remove(old)
		}
		c.leases[e.lease] = e
	}
	if e.caller != nil {
		e.caller.entries[e] = struct{}{}
	}
	if e.key == "" {
		e.place = c.aside.PushBack(e)
	} else {
		e.place = c.order.PushBack(e)
	}
	c.size += e.cost()
	c.touch(e)
	c.shrink(e)
}

// unlink takes e away from whoever asks; a lease or token stays on its schedule. mu is held.
func (c *Cache) unlink(e *entry) {
	if e.value != nil {
		c.remove(e)
		return
	}
	if e.gone.Load() || e.key == "" {
		return
	}
	c.size -= e.cost()
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	e.key = ""
	c.order.Remove(e.place)
	e.place = c.aside.PushBack(e) // no room can be made with it any more
	e.answer.Store(nil)
	c.size += e.cost()
	c.touch(e)
}

// remove forgets e. What it created is the caller's business. mu is held.
func (c *Cache) remove(e *entry) {
	if e.gone.Swap(true) {
		return
	}
	c.size -= e.cost()
	c.erase(e.name())
	if e.key != "" && c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	if e.lease != "" && c.leases[e.lease] == e {
		delete(c.leases, e.lease)
	}
	c.queue.Remove(e)
	c.order.Remove(e.place) // it is in one of the two
	c.aside.Remove(e.place)
	e.answer.Store(nil)
	if k := e.caller; k != nil {
		delete(k.entries, e)
		c.forget(k)
	}
	if v := e.value; v != nil {
		delete(v.tickets, e)
		if len(v.tickets) == 0 {
			c.removeValue(v)
		}
	}
}

// removeValue forgets a KV secret and all tickets to it. mu is held.
func (c *Cache) removeValue(v *value) {
	if c.values[v.key] != v {
		return
	}
	delete(c.values, v.key)
	c.erase(hashed("value-", v.key))
	if a := v.answer.Swap(nil); a != nil {
		c.size -= a.cost()
	}
	for _, g := range v.groups {
		delete(c.groups[g], v)
		if len(c.groups[g]) == 0 {
			delete(c.groups, g)
		}
	}
	for e := range v.tickets {
		c.remove(e)
	}
}

// shrink makes room: what was not used since the last look goes first. keep was just
// added and goes only when nothing else is left. mu is held.
func (c *Cache) shrink(keep *entry) {
	for tries := 2 * c.order.Len(); c.size > c.cfg.MaxBytes && tries > 0 && c.order.Len() > 0; tries-- {
		e := c.order.Front().Value.(*entry)
		c.order.MoveToBack(e.place)
		if e != keep && !e.used.Swap(false) {
			c.unlink(e)
		}
	}
	if c.size > c.cfg.MaxBytes {
		c.unlink(keep)
	}
}
