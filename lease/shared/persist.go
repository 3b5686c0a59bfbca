package shared

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

// Persist keeps records over a restart; a part of a sealed file is one. Load is
// called once, in New, and Save from one goroutine at a time.
type Persist interface {
	Load() map[string][]byte
	Save(put map[string][]byte, remove []string) error
}

const (
	gather    = 200 * time.Millisecond // how long changes are collected for one Save
	saveAgain = time.Minute            // the pause after a Save that failed
)

// shelf is what is still to be written. Cache.mu guards it; nil = nothing is kept on disk.
type shelf struct {
	to      Persist
	entries map[*entry]struct{}
	values  map[*value]struct{}
	gone    map[string]struct{} // names of records
	wake    chan struct{}
}

// record is an entry or a KV secret on disk. Moments are of the wall clock: ours
// does not outlive a boot.
type record struct {
	Saved    time.Time
	Full     string
	Header   http.Header   `json:",omitempty"`
	Body     []byte        `json:",omitempty"`
	At       time.Time     `json:",omitzero"` // when Vault said it
	From, To int           `json:",omitempty"`
	Key      []byte        `json:",omitempty"` // of an entry
	NS       string        `json:",omitempty"`
	Caller   *person       `json:",omitempty"`
	Made     *person       `json:",omitempty"` // a token
	Lease    string        `json:",omitempty"`
	End      time.Time     `json:",omitzero"`
	TTL      time.Duration `json:",omitempty"`
	Last     bool          `json:",omitempty"`
	Value    string        `json:",omitempty"` // a ticket's, or the secret's own name
	Until    time.Time     `json:",omitzero"`  // a ticket
}

// person is a caller on disk.
type person struct {
	Token, Accessor, Origin, Parent string `json:",omitempty"`
	Managed, Orphan                 bool   `json:",omitempty"`
	Trust                           trust  `json:",omitempty"`
	End                             time.Time
}

func hashed(kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return kind + hex.EncodeToString(sum[:16])
}

// name is what e's record is called: by what never changes of it.
func (e *entry) name() string {
	switch {
	case e.made != nil:
		return hashed("token-", e.made.token)
	case e.lease != "":
		return hashed("lease-", e.lease)
	}
	return hashed("ticket-", e.key)
}

// touch notes that e's record is out of date. mu is held.
func (c *Cache) touch(e *entry) {
	if c.shelf == nil || e.gone.Load() {
		return
	}
	delete(c.shelf.gone, e.name())
	c.shelf.entries[e] = struct{}{}
	c.shelf.stir()
}

// touchValue is touch for a KV secret. mu is held.
func (c *Cache) touchValue(v *value) {
	if c.shelf == nil {
		return
	}
	delete(c.shelf.gone, hashed("value-", v.key))
	c.shelf.values[v] = struct{}{}
	c.shelf.stir()
}

// erase notes that a record is no more. mu is held.
func (c *Cache) erase(name string) {
	if c.shelf != nil {
		c.shelf.gone[name] = struct{}{}
		c.shelf.stir()
	}
}

func (s *shelf) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saver writes what changed until ctx ends.
func (c *Cache) saver(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-c.shelf.wake:
		}
		wait := gather
		if err := c.save(); err != nil {
			c.log.Warn("cached answers were not written to the sealed cache", "error", err, "retry_in", saveAgain)
			wait = saveAgain
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// save writes all that changed; after an error it is to be written again.
func (c *Cache) save() error {
	s := c.shelf
	c.mu.Lock()
	now, wall := c.cfg.clock(), time.Now()
	put, remove := map[string][]byte{}, []string{}
	entries, values, gone := s.entries, s.values, s.gone
	s.entries, s.values, s.gone = map[*entry]struct{}{}, map[*value]struct{}{}, map[string]struct{}{}
	for name := range gone {
		remove = append(remove, name)
	}
	for e := range entries {
		if !e.gone.Load() {
			put[e.name()], _ = json.Marshal(e.record(now, wall))
		}
	}
	for v := range values {
		if a := v.answer.Load(); a != nil && c.values[v.key] == v {
			put[hashed("value-", v.key)], _ = json.Marshal(a.into(record{Saved: wall, Full: v.groups[0], NS: v.ns, Value: v.key}, now, wall))
		}
	}
	c.mu.Unlock()
	if len(put)+len(remove) == 0 {
		return nil
	}
	err := s.to.Save(put, remove)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := range s.entries { // newer than what failed
		delete(gone, e.name())
	}
	for v := range s.values {
		delete(gone, hashed("value-", v.key))
	}
	for name := range gone {
		c.erase(name)
	}
	for e := range entries {
		c.touch(e)
	}
	for v := range values {
		if c.values[v.key] == v {
			c.touchValue(v)
		}
	}
	return err
}

// Revoked forgets tokens that were revoked when all was over, on disk too. Call it after Run has ended.
func (c *Cache) Revoked(tokens ...string) error {
	if c.shelf == nil {
		return nil
	}
	c.mu.Lock()
	for _, token := range tokens {
		c.drop(c.callers[token])
	}
	c.mu.Unlock()
	return c.save()
}

func (e *entry) record(now time.Duration, wall time.Time) record {
	at := func(t time.Duration) time.Time {
		if t == 0 {
			return time.Time{}
		}
		return wall.Add(t - now)
	}
	r := record{
		Saved: wall, Full: e.full, Key: []byte(e.key), NS: e.ns, Lease: e.lease, TTL: e.ttl, Last: e.last,
		End: at(time.Duration(e.end.Load())), Until: at(time.Duration(e.until.Load())),
		Caller: e.caller.person(at), Made: e.made.person(at),
	}
	if e.value != nil {
		r.Value = e.value.key
		return r
	}
	if a := e.answer.Load(); a != nil {
		r = a.into(r, now, wall)
	}
	return r
}

func (k *caller) person(at func(time.Duration) time.Time) *person {
	if k == nil {
		return nil
	}
	p := &person{
		Token: k.token, Accessor: k.accessor, Origin: k.origin, Managed: k.managed, Orphan: k.orphan,
		Trust: trust(k.trust.Load()), End: at(time.Duration(k.end.Load())),
	}
	if k.parent != nil {
		p.Parent = k.parent.token
	}
	return p
}

func (a *Answer) into(r record, now time.Duration, wall time.Time) record {
	r.Header, r.Body, r.At, r.From, r.To = a.header, a.body, wall.Add(a.at-now), a.ttlFrom, a.ttlTo
	return r
}
