package shared

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Change is a request that may change something at Vault. A nil Change changes nothing.
type Change struct {
	c     *Cache
	r     Request
	full  string
	asked time.Duration
	ended bool
}

// Change announces r before it is sent; nil when r only reads. End must be called.
func (c *Cache) Change(r *Request) *Change {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "LIST":
		return nil
	}
	ch := &Change{c: c, r: *r, full: strings.TrimSuffix(r.full(), "/"), asked: c.cfg.clock()}
	c.marks.write(ch.full)
	return ch
}

// Wants reports whether End needs the answer's body.
func (ch *Change) Wants() bool {
	return ch != nil && (strings.Contains(ch.full, "sys/leases/renew") || strings.Contains(ch.full, "sys/renew") || strings.Contains(ch.full, "auth/token/renew"))
}

// End settles the change before the client learns of it. status 0: the outcome is
// unknown. Only the first call counts.
func (ch *Change) End(status int, body []byte) {
	if ch == nil || ch.ended {
		return
	}
	ch.ended = true
	ch.c.marks.write(ch.full)
	if status >= 400 && status < 500 {
		return // Vault did nothing
	}
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	ch.apply(status, body)
}

// apply drops what the change made stale. A path may look like several things at once: what
// comes before may be a namespace or a mount, what comes after may be a lease. mu is held.
func (ch *Change) apply(status int, body []byte) {
	c := ch.c
	path := strings.TrimSuffix(strings.TrimPrefix(ch.r.Path, "/v1/"), "/") // the header's namespace may be ignored
	if _, what, ok := cutSegments(path, "auth/token/"); ok {
		ch.token(what, status, body)
	}
	if _, what, ok := cutSegments(path, "sys/"); ok {
		ch.system(what, status, body)
	}
	if _, _, ok := cutSegments(path, "identity/"); ok {
		c.rights()
	}
	for _, g := range allGroups(ch.full, ch.r.Namespace) {
		for v := range c.groups[g] {
			c.removeValue(v)
		}
	}
}

// field reads a string from the request's body, JSON or a form; "" when it cannot be told.
func (ch *Change) field(name string) string {
	var body map[string]any
	_ = json.NewDecoder(bytes.NewReader(ch.r.Body)).Decode(&body)
	if s, ok := body[name].(string); ok {
		return s
	}
	form, _ := url.ParseQuery(string(ch.r.Body))
	return form.Get(name)
}

// whom finds the token a request names. Something was revoked, but the request does
// not say what in a way we read: everything may be stale. mu is held.
func (ch *Change) whom(name string, known map[string]*caller) *caller {
	id := ch.field(name)
	if id == "" {
		ch.c.everything()
	}
	return known[id]
}

// everything drops all tokens and what hangs on them. mu is held.
func (c *Cache) everything() {
	c.marks.revoked.Add(1)
	for _, k := range c.callers {
		c.drop(k)
	}
}

// token applies a change below auth/token/. mu is held.
func (ch *Change) token(what string, status int, body []byte) {
	c := ch.c
	switch what {
	case "revoke-self":
		c.revoked(c.callers[ch.r.Token])
	case "revoke":
		c.revoked(ch.whom("token", c.callers))
	case "revoke-accessor":
		c.revoked(ch.whom("accessor", c.accessors))
	case "revoke-orphan":
		k := ch.whom("token", c.callers)
		c.marks.revoked.Add(1)
		if k == nil {
			return
		}
		for child := range k.children {
			child.parent, child.orphan = nil, true
			if child.creation != nil {
				delete(k.entries, child.creation)
				c.unlink(child.creation)
				child.creation.caller = nil
			}
		}
		clear(k.children)
		c.dropOwn(k)
	case "renew-self":
		ch.prolongToken(c.callers[ch.r.Token], status, body)
	case "renew":
		ch.prolongToken(c.callers[ch.field("token")], status, body)
	case "renew-accessor":
		ch.prolongToken(c.accessors[ch.field("accessor")], status, body)
	}
}

// revoked drops a token, nil when we do not know it, and the tickets of every caller
// that may have been its child without our knowing. mu is held.
func (c *Cache) revoked(k *caller) {
	c.marks.revoked.Add(1)
	c.drop(k)
	for _, other := range c.callers {
		if other.orphan || other.managed && other.parent == nil {
			continue
		}
		c.dropTickets(other)
	}
}

func (c *Cache) dropTickets(k *caller) {
	for e := range k.entries {
		if e.value != nil {
			c.remove(e)
		}
	}
}

// rights drops all tickets: somebody's rights may have changed. mu is held.
func (c *Cache) rights() {
	c.marks.all.Add(1)
	for _, v := range c.values {
		c.removeValue(v)
	}
}

// system applies a change below sys/. mu is held.
func (ch *Change) system(what string, status int, body []byte) {
	c := ch.c
	what = strings.TrimPrefix(what, "leases/")
	word, rest, _ := strings.Cut(what, "/")
	switch word {
	case "revoke":
		if rest == "" {
			rest = ch.field("lease_id")
		}
		if rest == "" {
			c.everything()
		}
		c.revokeLease(rest)
	case "revoke-prefix", "revoke-force":
		c.revokePrefix(rest)
	case "renew":
		ch.prolongLease(status, body)
	case "mounts":
		c.rights()
		if ch.r.Method == http.MethodDelete {
			c.revokePrefix(rest)
		}
	case "auth":
		c.rights()
		if ch.r.Method == http.MethodDelete {
			c.disabled("auth/" + rest)
		}
	case "remount":
		c.rights()
		c.revokePrefix(strings.Trim(ch.field("from"), "/"))
	case "policy", "policies", "namespaces", "seal", "step-down", "raw", "storage", "replication", "quotas":
		c.rights()
	}
}

// revokeLease drops one lease, or the token whose own lease it is. mu is held.
func (c *Cache) revokeLease(id string) {
	c.marks.revoked.Add(1)
	id = strings.TrimPrefix(id, "/")
	if e := c.leases[id]; e != nil {
		c.remove(e)
		return
	}
	if strings.HasPrefix(id, "auth/") {
		c.disabled(id) // a token's lease does not tell which token
	}
}

// revokePrefix drops the leases below a prefix, and the tokens when logins are meant. mu is held.
func (c *Cache) revokePrefix(prefix string) {
	c.marks.revoked.Add(1)
	prefix = strings.TrimPrefix(prefix, "/")
	if prefix == "" {
		return
	}
	for id, e := range c.leases {
		if strings.HasPrefix(id, prefix) {
			c.remove(e)
		}
	}
	if strings.HasPrefix(prefix, "auth/") {
		c.disabled(prefix)
	}
}

// disabled drops the tokens that came from below a login path, and the tickets of
// all whose origin we do not know. mu is held.
func (c *Cache) disabled(path string) {
	c.marks.revoked.Add(1)
	for _, k := range c.callers {
		switch {
		case k.origin != "" && (strings.Contains(k.origin+"/", path) || strings.Contains(path, k.origin)):
			c.drop(k)
		case k.managed && strings.HasPrefix(path, "auth/token"):
			c.drop(k)
		default:
			c.dropTickets(k)
		}
	}
}

// prolongToken notes that a client renewed a token through us. mu is held.
func (ch *Change) prolongToken(k *caller, status int, body []byte) {
	p := parse(body)
	if status != http.StatusOK || k == nil || p == nil || p.Auth == nil {
		return
	}
	end := ch.asked + seconds(p.Auth.Duration)
	if k.end.Load() != 0 {
		k.end.Store(int64(end))
	}
	if k.creation != nil {
		ch.c.prolong(k.creation, end)
	}
}

// prolongLease notes that a client renewed a lease through us. mu is held.
func (ch *Change) prolongLease(status int, body []byte) {
	p := parse(body)
	if status != http.StatusOK || p == nil {
		return
	}
	if e := ch.c.leases[p.LeaseID]; e != nil {
		ch.c.prolong(e, ch.asked+seconds(p.Duration))
	}
}

func (c *Cache) prolong(e *entry, end time.Duration) {
	e.end.Store(int64(end))
	c.schedule(e)
	c.touch(e)
}
