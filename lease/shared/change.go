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
	done  bool // Vault said that it is done
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
	if ch.undone(status) {
		return
	}
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	ch.done = status >= 200 && status < 300
	ch.apply(status, body)
}

// undone reports whether Vault changed nothing. 400 is also what it says when it failed
// half way, but not before it knew who asks.
func (ch *Change) undone(status int) bool {
	return status == http.StatusNotModified || status >= 400 && status < 500 && (status != http.StatusBadRequest || ch.r.Token == "")
}

// apply drops what the change made stale. A path may look like several things at once: what
// comes before may be a namespace or a mount, what comes after may be a lease. mu is held.
func (ch *Change) apply(status int, body []byte) {
	c := ch.c
	path := strings.TrimSuffix(strings.TrimPrefix(ch.r.Path, "/v1/"), "/") // the header's namespace may be ignored
	if what, ok := cutSegments(path, "sys/"); ok {
		ch.system(what, status, body)
	}
	if what, ok := cutSegments(path, "auth/token/"); ok {
		ch.token(what, status, body)
	} else if below, ok := cutSegments(path, "auth/"); ok && c.cfg.ShareLogins && classify(&ch.r) != login {
		c.unshare(below)
	}
	if _, ok := cutSegments(path, "identity/"); ok {
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

// gone ends a token that was revoked, or may have been. mu is held.
func (ch *Change) gone(k *caller) {
	if ch.done {
		ch.c.drop(k)
	} else {
		ch.c.doubt(k)
	}
}

// over does the same for a lease. mu is held.
func (ch *Change) over(e *entry) {
	if ch.done {
		ch.c.remove(e)
	} else {
		ch.c.unlink(e)
	}
}

// doubt takes away what hangs on a token that may be no more. Leases and tokens stay on
// their schedule: the next renewal shows whether they live. mu is held.
func (c *Cache) doubt(k *caller) {
	if k == nil {
		return
	}
	for child := range k.children {
		c.doubt(child)
	}
	for e := range k.entries {
		c.unlink(e)
	}
	if k.creation != nil {
		c.unlink(k.creation)
	}
}

// everything doubts all tokens. mu is held.
func (c *Cache) everything() {
	c.marks.revoked.Add(1)
	for _, k := range c.callers {
		c.doubt(k)
	}
}

// unshare: whoever logged in at a mount whose credentials changed must prove it anew. mu is held.
func (c *Cache) unshare(below string) {
	c.marks.all.Add(1)
	for _, k := range c.callers {
		if k.creation != nil && strings.HasPrefix("auth/"+below, k.origin+"/") {
			c.unlink(k.creation)
		}
	}
}

// token applies a change below auth/token/. mu is held.
func (ch *Change) token(what string, status int, body []byte) {
	c := ch.c
	switch what {
	case "revoke-self":
		ch.revoked(c.callers[ch.r.Token])
	case "revoke":
		ch.revoked(ch.whom("token", c.callers))
	case "revoke-accessor":
		ch.revoked(ch.whom("accessor", c.accessors))
	case "revoke-orphan":
		k := ch.whom("token", c.callers)
		c.marks.revoked.Add(1)
		if k == nil || !ch.done {
			c.doubt(k)
			return
		}
		for child := range k.children {
			child.parent, child.orphan = nil, true
		}
		c.dropOwn(k)
	case "renew-self":
		ch.prolongToken(c.callers[ch.r.Token], status, body)
	case "renew":
		ch.prolongToken(c.callers[ch.field("token")], status, body)
	case "renew-accessor":
		ch.prolongToken(c.accessors[ch.field("accessor")], status, body)
	}
}

// revoked ends a token, nil when we do not know it, and doubts every caller that may
// have been its child without our knowing: none of ours is of a token made through us. mu is held.
func (ch *Change) revoked(k *caller) {
	c := ch.c
	c.marks.revoked.Add(1)
	ch.gone(k)
	for _, other := range c.callers {
		if other.parent == nil && !other.orphan && (k == nil || !k.managed || !other.managed) {
			c.doubt(other)
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
		ch.revokeLease(rest)
	case "revoke-prefix", "revoke-force":
		ch.revokePrefix(rest)
	case "renew":
		ch.prolongLease(status, body)
	case "mounts":
		c.rights()
		if ch.r.Method == http.MethodDelete {
			ch.revokePrefix(rest)
		}
	case "auth":
		c.rights()
		if ch.r.Method == http.MethodDelete {
			c.disabled("auth/" + rest)
		}
	case "remount":
		c.rights()
		from := strings.Trim(ch.field("from"), "/")
		if from == "" {
			c.everything()
		}
		ch.revokePrefix(from)
	case "namespaces", "raw", "storage", "replication": // what Vault knows may be another now
		c.rights()
		c.everything()
	case "policy", "policies", "seal", "step-down", "quotas":
		c.rights()
	}
}

// revokeLease ends one lease, or doubts the tokens of which one may be revoked: its
// lease does not tell which. mu is held.
func (ch *Change) revokeLease(id string) {
	c := ch.c
	c.marks.revoked.Add(1)
	id = strings.TrimPrefix(id, "/")
	if e := c.leases[id]; e != nil {
		ch.over(e)
	} else if strings.HasPrefix(id, "auth/") {
		c.disabled(id)
	}
}

// revokePrefix ends the leases below a prefix, and doubts the tokens when logins are meant. mu is held.
func (ch *Change) revokePrefix(prefix string) {
	c := ch.c
	c.marks.revoked.Add(1)
	prefix = strings.TrimPrefix(prefix, "/")
	if prefix == "" {
		return
	}
	for id, e := range c.leases {
		if strings.HasPrefix(id, prefix) {
			ch.over(e)
		}
	}
	if prefix == "auth" || strings.HasPrefix(prefix, "auth/") {
		c.disabled(prefix)
	}
}

// disabled doubts the tokens that came from above or below a path, and all whose origin
// we do not know. mu is held.
func (c *Cache) disabled(path string) {
	c.marks.revoked.Add(1)
	for _, k := range c.callers {
		if strings.Contains(k.origin+"/", path) || strings.Contains(path, k.origin) {
			c.doubt(k)
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
