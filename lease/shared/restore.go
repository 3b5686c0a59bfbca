package shared

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// restore takes over what an earlier life kept. What ended meanwhile is left out,
// with all that died with it; leases and tokens are renewed at once, which shows
// whether they still are. What cannot be read is left out and erased.
func (c *Cache) restore(all map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.cfg.clock(), time.Now()
	var ended []string
	read := map[string]record{}
	for name, text := range all {
		var r record
		if json.Unmarshal(text, &r) != nil || wall.Sub(r.Saved) > c.cfg.PersistMaxAge || r.Saved.Sub(wall) > c.cfg.PersistMaxAge {
			c.erase(name)
			continue
		}
		if r.Value == "" && !r.End.After(wall) {
			if r.Made != nil {
				ended = append(ended, r.Made.Token)
			}
			c.erase(name)
			continue
		}
		if r.Saved.After(wall) { // the clock was set back: neither ages nor ends can be told
			if r.Value != "" || r.Last {
				c.erase(name)
				continue
			}
			r.Caller.distrust()
			r.Made.distrust()
		}
		read[name] = r
	}
	moment := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return now + t.Sub(wall)
	}
	for name, r := range read { // secrets before tickets
		if strings.HasPrefix(name, "value-") && r.Value != "" {
			v := c.valueOf(r.Value, r.Full, r.NS)
			v.answer.Store(c.recalled(r, moment))
			c.size += v.answer.Load().cost()
		}
	}
	for name, r := range read {
		if !strings.HasPrefix(name, "value-") && !c.recall(r, moment) {
			c.erase(name)
		}
	}
	for _, token := range ended {
		c.drop(c.callers[token])
	}
	for _, v := range c.values {
		if len(v.tickets) == 0 {
			c.removeValue(v)
		}
	}
	if len(c.entries) > 0 {
		c.log.Info("cached answers taken over from the sealed cache", "entries", len(c.entries))
	}
}

// distrust has a caller looked up again.
func (p *person) distrust() {
	if p != nil {
		p.Trust = unknown
	}
}

// recalled is the answer in r.
func (c *Cache) recalled(r record, moment func(time.Time) time.Duration) *Answer {
	c.header = keptHeader(r.Header, c.header)
	a := &Answer{header: c.header, body: r.Body, at: moment(r.At), length: []string{strconv.Itoa(len(r.Body))}}
	if 0 < r.From && r.From < r.To && r.To <= len(r.Body) {
		a.ttlFrom, a.ttlTo = r.From, r.To
	}
	return a
}

// recall takes over one entry; false when something it needs is missing. mu is held.
func (c *Cache) recall(r record, moment func(time.Time) time.Duration) bool {
	caller, made := c.person(r.Caller, moment), c.person(r.Made, moment)
	e := &entry{key: string(r.Key), full: r.Full, ns: r.NS, caller: caller, made: made, lease: r.Lease, ttl: r.TTL, last: r.Last}
	e.end.Store(int64(moment(r.End)))
	e.until.Store(int64(moment(r.Until)))
	switch {
	case r.Value != "":
		v := c.values[r.Value]
		if v == nil || caller == nil || e.key == "" {
			return false
		}
		e.value = v
		v.tickets[e] = struct{}{}
		c.add(e)
		return true
	case made != nil:
		made.creation = e
	case e.lease == "" || caller == nil || !caller.managed:
		return false
	}
	if len(r.Body) > 0 {
		a := c.recalled(r, moment)
		a.end = &e.end
		e.answer.Store(a)
	}
	c.add(e)
	c.schedule(e)
	if !e.last {
		e.At = c.cfg.clock()
		c.requeue(e)
	}
	return true
}

// person takes over a caller. mu is held.
func (c *Cache) person(p *person, moment func(time.Time) time.Duration) *caller {
	if p == nil || p.Token == "" {
		return nil
	}
	k := c.know(p.Token)
	k.managed, k.orphan = k.managed || p.Managed, k.orphan || p.Orphan
	if p.Origin != "" {
		k.origin = p.Origin
	}
	if p.Accessor != "" {
		k.accessor = p.Accessor
		c.accessors[p.Accessor] = k
	}
	if p.Trust != unknown {
		k.trust.Store(int32(p.Trust))
		k.end.Store(int64(moment(p.End)))
	}
	if p.Parent != "" && k.parent == nil {
		k.parent = c.know(p.Parent)
		k.parent.children[k] = struct{}{}
	}
	return k
}
