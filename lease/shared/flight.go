package shared

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Flight is one request to Vault whose answer may be kept. Exactly one of Store and
// Close must end it; both may be called any number of times. A nil Flight keeps nothing.
type Flight struct {
	c       *Cache
	r       Request
	class   class
	full    string
	key     string
	before  moment
	started time.Duration
	lead    bool // in Cache.flights
	ended   atomic.Bool
	done    chan struct{}
	answer  *Answer // what others may share; read after done
}

// Enter decides what to do with a request that Serve did not answer. It may wait for
// an equal one. served: the answer was written to w. Otherwise r must go to Vault,
// and flight, when it is not nil, told of the outcome.
func (c *Cache) Enter(ctx context.Context, w http.ResponseWriter, r *Request) (served bool, flight *Flight) {
	kind := classify(r)
	switch {
	case kind == opaque, kind != reading && !c.cfg.Leases:
		return false, nil
	}
	f := &Flight{c: c, r: *r, class: kind, full: r.full(), started: c.cfg.clock()}
	f.key = string(r.appendKey(nil))
	f.before = c.marks.now(f.full)
	if kind == reading && c.cfg.Static && !r.Fresh && c.vouched(ctx, f) && c.Serve(w, r) {
		return true, nil
	}
	if kind == login && !c.cfg.ShareLogins || r.Fresh || c.marks.isBarren(f.full) {
		return false, f
	}
	leader := c.join(f)
	if leader == nil {
		return false, f
	}
	select {
	case <-leader.done:
	case <-ctx.Done():
		return false, f
	}
	a, now := leader.answer, c.cfg.clock()
	if a == nil || kind != login && !c.lives(r.Token) || a.end == nil && now-a.at >= c.cfg.MaxAge {
		return false, f
	}
	c.counts.hits.Add(1)
	c.counts.joined.Add(1)
	a.write(w, now)
	return true, nil
}

// vouched looks the caller's token up when that is all that stands before a hit, or
// when it is known to have no limit on uses, which a look-up would take one of.
func (c *Cache) vouched(ctx context.Context, f *Flight) bool {
	c.mu.Lock()
	k, e := c.manager(&f.r), c.entries[f.key]
	c.mu.Unlock()
	if k == nil && e != nil && e.value != nil {
		if a := e.ready(f.started); a != nil && c.fresh(e.value, a, f.started) {
			k = e.caller
		}
	}
	return k != nil && c.vouch(ctx, k, &f.r)
}

// join returns the flight to wait for; nil: f goes itself, as the leader when others may wait for it.
func (c *Cache) join(f *Flight) *Flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if leader := c.flights[f.key]; leader != nil {
		if f.class != reading && leader.before.creatable(f.before) || leader.before.joinable(f.before) {
			return leader
		}
		return nil
	}
	k := c.callers[f.r.Token]
	known := f.r.Session != nil && f.r.Session.NumUses == 0 || k != nil && (k.managed || trust(k.trust.Load()) == good)
	if f.class == login || known {
		f.lead, f.done = true, make(chan struct{})
		c.flights[f.key] = f
	}
	return nil
}

// Close ends a flight that brought nothing to keep.
func (f *Flight) Close() {
	if f == nil || f.ended.Swap(true) {
		return
	}
	f.c.counts.misses.Add(1)
	if !f.lead {
		return
	}
	f.c.mu.Lock()
	if f.c.flights[f.key] == f {
		delete(f.c.flights, f.key)
	}
	f.c.mu.Unlock()
	close(f.done)
}

// Wants reports whether an answer that begins like this should be given to Store.
// If not, the flight is over.
func (f *Flight) Wants(status int, h http.Header) bool {
	if f == nil || f.ended.Load() {
		return false
	}
	if status == http.StatusOK && h.Get("Content-Encoding") == "" && h.Get("Trailer") == "" && isJSON(h) {
		return true
	}
	if f.class == reading {
		f.refuted(status)
		if f.lead && !forNow(status) {
			f.c.marks.barren(f.full, true)
		}
	}
	f.Close()
	return false
}

func isJSON(h http.Header) bool {
	if v := h["Content-Type"]; len(v) == 1 && v[0] == "application/json" { // as Vault says it
		return true
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// refuted: Vault no longer gives the caller what it has a ticket for.
func (f *Flight) refuted(status int) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	e := f.c.entries[f.key]
	if e == nil || e.value == nil {
		return
	}
	switch {
	case status == http.StatusNotFound:
		f.c.removeValue(e.value)
	case status >= 400 && !forNow(status):
		f.c.remove(e)
	}
}

// forNow reports whether a status says nothing of what was asked for: Vault is away, busy or behind.
func forNow(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusPreconditionFailed
}

// MaxAnswer is the largest body Store takes.
func (f *Flight) MaxAnswer() int64 { return f.c.cfg.MaxAnswer }

// Store ends the flight with a whole answer of status 200. body is kept: it must not change.
func (f *Flight) Store(h http.Header, body []byte) {
	if f == nil || f.ended.Load() {
		return
	}
	defer f.Close()
	if !f.mayKeep(body) {
		f.c.marks.barren(f.full, true)
		return
	}
	p := parse(body)
	if p == nil || p.Wrap != nil {
		return
	}
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = keptHeader(h, c.header)
	a := &Answer{header: c.header, body: body, at: f.started, length: []string{strconv.Itoa(len(body))}}
	now := c.marks.now(f.full)
	switch {
	case f.class == reading && c.cfg.Leases && p.LeaseID != "" && p.Renewable && seconds(p.Duration) > 0:
		if f.before.storableLease(now) {
			c.storeLease(f, p, a)
		}
	case f.class == reading && c.cfg.Static && kvQuery(f.r.Query) && p.kvSecret(f.full):
		if f.before.storableKV(now) {
			c.storeTicket(f, a)
		}
		if c.cfg.MaxAge == 0 { // an answer that was waited for is too old
			c.marks.barren(f.full, true)
			return
		}
	case f.class != reading && p.Auth != nil && p.Auth.Token != "":
		if f.before.storableLease(now) && (f.class == creating || f.before.creatable(now)) {
			c.storeToken(f, p, a)
		}
	default:
		c.marks.barren(f.full, true)
		return
	}
	c.marks.barren(f.full, false)
}

// storeLease keeps a lease of a caller we know. mu is held.
func (c *Cache) storeLease(f *Flight, p *parsed, a *Answer) {
	k := c.manager(&f.r)
	if k == nil {
		return
	}
	e := c.made(f, p, a, seconds(p.Duration))
	e.caller, e.lease = k, p.LeaseID
	c.add(e)
	c.schedule(e)
	f.answer = e.answer.Load()
}

// storeToken keeps a token that a caller we know made, also an orphan: of others we would
// not learn that they may make none any more. Or it notes one somebody logged in for. mu is held.
func (c *Cache) storeToken(f *Flight, p *parsed, a *Answer) {
	auth := p.Auth
	if auth.NumUses > 0 || !auth.Renewable || seconds(auth.Duration) == 0 {
		return
	}
	var parent *caller
	if f.class == creating {
		parent = c.manager(&f.r)
	}
	if f.class == creating && parent == nil || c.callers[auth.Token] != nil && c.callers[auth.Token].creation != nil {
		return
	}
	k := c.know(auth.Token)
	k.managed, k.accessor, k.orphan = true, auth.Accessor, auth.Orphan || f.class == login
	if k.accessor != "" {
		c.accessors[k.accessor] = k
	}
	k.origin = "auth/token"
	if f.class == login {
		below, _ := cutSegments(f.full, "auth/")
		mount, _, _ := strings.Cut(below, "/login")
		k.origin = "auth/" + mount
	}
	if f.class == creating && !auth.Orphan {
		k.parent = parent
		parent.children[k] = struct{}{}
	}
	e := c.made(f, p, a, seconds(auth.Duration))
	e.caller, e.made, k.creation = parent, k, e
	if f.class == login && !c.cfg.ShareLogins {
		e.key, e.last = "", true // only known: its owner renews it
		e.answer.Store(nil)
	}
	c.add(e)
	c.schedule(e)
	f.answer = e.answer.Load()
}

// made is a new entry with the answer of f in it.
func (c *Cache) made(f *Flight, p *parsed, a *Answer, ttl time.Duration) *entry {
	e := &entry{key: f.key, full: f.full, ns: f.r.Namespace, ttl: ttl}
	e.end.Store(int64(f.started + ttl))
	a.ttlFrom, a.ttlTo = p.place(a.body)
	a.end = &e.end
	e.answer.Store(a)
	return e
}

// storeTicket keeps a KV secret and the caller's right to read it here. mu is held.
func (c *Cache) storeTicket(f *Flight, a *Answer) {
	if until, barred := c.barred[f.r.Token]; barred && f.started < until {
		return
	}
	k := c.know(f.r.Token)
	if trust(k.trust.Load()) == refused {
		return
	}
	name := f.r.Namespace + "\x00" + strings.TrimPrefix(f.r.Path, "/v1/") + "?" + f.r.Query
	v := c.valueOf(name, f.full, f.r.Namespace)
	if old := v.answer.Load(); old == nil || a.at >= old.at {
		if old != nil {
			c.size -= old.cost()
		}
		v.answer.Store(a)
		c.size += a.cost()
		c.touchValue(v)
	}
	e := c.entries[f.key]
	if e == nil || e.value != v {
		e = &entry{key: f.key, full: f.full, ns: f.r.Namespace, caller: k, value: v}
		v.tickets[e] = struct{}{}
		c.add(e)
	}
	e.until.Store(int64(f.started + c.cfg.TicketLife))
	c.touch(e)
	c.followed(v, &f.r)
	if end := time.Duration(k.end.Load()); end != 0 && f.started >= end {
		k.trust.Store(int32(unknown)) // renewed by others: it must be looked up again
	}
	if trust(k.trust.Load()) == good {
		f.answer = a
	}
}

// valueOf returns the KV secret with this name, making one when there is none. mu is held.
func (c *Cache) valueOf(name, full, ns string) *value {
	v := c.values[name]
	if v != nil {
		return v
	}
	v = &value{key: name, ns: ns, groups: allGroups(full, ns), tickets: map[*entry]struct{}{}}
	c.values[name] = v
	for _, g := range v.groups {
		if c.groups[g] == nil {
			c.groups[g] = map[*value]struct{}{}
		}
		c.groups[g][v] = struct{}{}
	}
	return v
}

// readAtMost reads a body; whole is false when it is longer or breaks off.
func readAtMost(r io.Reader, limit int64) (body []byte, whole bool) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	return body, err == nil && int64(len(body)) <= limit
}
