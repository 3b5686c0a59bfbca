package shared

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// trust says whether a caller may be served KV secrets.
type trust int32

const (
	unknown trust = iota
	good          // looked up: no limit on uses, bound to no address
	refused       // never served
)

// caller is a token and what hangs on it. Cache.mu guards what is not atomic.
type caller struct {
	token, accessor string
	origin          string // the mount it came from, without a namespace; "" = unknown
	managed         bool   // the session's, or made through us: its leases are kept
	orphan          bool   // certainly without a parent
	gone            atomic.Bool
	trust           atomic.Int32
	end             atomic.Int64 // of its life; 0 = none known

	parent   *caller
	children map[*caller]struct{}
	entries  map[*entry]struct{} // asked for with this token
	creation *entry              // the answer that told this token
	looking  chan struct{}       // closed when its look-up ends
}

// trusted reports whether k may be served KV secrets now.
func (k *caller) trusted(now time.Duration) bool {
	end := time.Duration(k.end.Load())
	return trust(k.trust.Load()) == good && !k.gone.Load() && (end == 0 || now < end)
}

// lives reports whether a token is known and neither revoked through us nor at its end.
func (c *Cache) lives(token string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k := c.callers[token]
	if k == nil {
		return false
	}
	end := time.Duration(k.end.Load())
	return end == 0 || c.cfg.clock() < end
}

// know returns the caller with this token, making one when there is none. mu is held.
func (c *Cache) know(token string) *caller {
	if k := c.callers[token]; k != nil {
		return k
	}
	k := &caller{token: token, children: map[*caller]struct{}{}, entries: map[*entry]struct{}{}}
	c.callers[token] = k
	return k
}

// manager returns the caller whose leases are kept; nil = they are not. mu is held.
func (c *Cache) manager(r *Request) *caller {
	if s := r.Session; s != nil {
		if s.NumUses > 0 {
			return nil
		}
		k := c.know(r.Token)
		k.managed, k.orphan = true, k.orphan || s.Own // logins have no parent
		if s.Accessor != "" && k.accessor == "" {
			k.accessor = s.Accessor
			c.accessors[k.accessor] = k
		}
		return k
	}
	if k := c.callers[r.Token]; k != nil && k.managed {
		return k
	}
	return nil
}

// forget drops a caller nothing is known of but its token. mu is held.
func (c *Cache) forget(k *caller) {
	if !k.managed && len(k.entries) == 0 && c.callers[k.token] == k {
		k.gone.Store(true)
		delete(c.callers, k.token)
		if k.accessor != "" && c.accessors[k.accessor] == k {
			delete(c.accessors, k.accessor)
		}
	}
}

// drop forgets a token that is no more and everything that dies with it. mu is held.
func (c *Cache) drop(k *caller) {
	if k == nil || k.gone.Swap(true) {
		return
	}
	c.dropOwn(k)
	for child := range k.children {
		c.drop(child)
	}
}

// dropOwn forgets a token and its leases but not its children. mu is held.
func (c *Cache) dropOwn(k *caller) {
	k.gone.Store(true)
	delete(c.callers, k.token)
	if c.accessors[k.accessor] == k {
		delete(c.accessors, k.accessor)
	}
	if k.parent != nil {
		delete(k.parent.children, k)
	}
	for e := range k.entries {
		if e.made != nil {
			c.unlink(e) // an orphan outlives its maker
			e.caller = nil
			continue
		}
		c.remove(e)
	}
	if k.creation != nil {
		c.remove(k.creation)
	}
}

// bar notes that a token is never to be served KV secrets. mu is held.
func (c *Cache) bar(token string, until time.Duration) {
	if len(c.barred) > 4096 {
		clear(c.barred)
	}
	c.barred[token] = until
}

// vouch finds out whether k may be served KV secrets, asking Vault once.
func (c *Cache) vouch(ctx context.Context, k *caller, r *Request) bool {
	for {
		c.mu.Lock()
		state, wait := trust(k.trust.Load()), k.looking
		if state != unknown {
			c.mu.Unlock()
			return state == good
		}
		if wait == nil {
			k.looking = make(chan struct{})
			c.mu.Unlock()
			return c.lookUp(ctx, k, r)
		}
		c.mu.Unlock()
		select {
		case <-wait:
			if trust(k.trust.Load()) == unknown {
				return false // it could not be found out now
			}
		case <-ctx.Done():
			return false
		}
	}
}

// lookUp asks Vault about k's token and notes what it says.
func (c *Cache) lookUp(ctx context.Context, k *caller, r *Request) bool {
	asked := c.cfg.clock()
	found, state := c.ask(ctx, k.token, r.Namespace)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(k.looking)
	k.looking = nil
	switch state {
	case good:
		k.orphan = found.Orphan
		if ttl := seconds(found.TTL); ttl > 0 || found.Expires != nil { // 0 is also what its last second says
			k.end.Store(int64(asked + max(ttl-time.Second/2, 0))) // Vault rounds up by as much
		}
		if found.Accessor != "" && !k.gone.Load() {
			k.accessor = found.Accessor
			c.accessors[found.Accessor] = k
		}
	case refused:
		c.bar(k.token, asked+c.cfg.TicketLife)
		for e := range k.entries {
			if e.value != nil {
				c.remove(e)
			}
		}
	}
	k.trust.Store(int32(state))
	for e := range k.entries {
		if e.value != nil {
			c.touch(e)
		}
	}
	return state == good
}

// lookedUp is what a token says of itself.
type lookedUp struct {
	NumUses  int         `json:"num_uses"`
	CIDRs    []string    `json:"bound_cidrs"`
	TTL      json.Number `json:"ttl"`
	Expires  *string     `json:"expire_time"` // null: it has no end
	Accessor string      `json:"accessor"`
	Orphan   bool        `json:"orphan"`
}

// ask looks a token up with itself.
func (c *Cache) ask(ctx context.Context, token, ns string) (lookedUp, trust) {
	var answer struct{ Data *lookedUp }
	status, body, err := c.send(ctx, http.MethodGet, "/v1/auth/token/lookup-self", "", token, ns, nil)
	switch {
	case err != nil || forNow(status):
		return lookedUp{}, unknown
	case status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Data == nil:
		return lookedUp{}, refused
	}
	d := *answer.Data
	if d.NumUses > 0 || slices.ContainsFunc(d.CIDRs, func(s string) bool { return s != "" }) {
		return d, refused
	}
	return d, good
}

// send makes one request of the Cache's own.
func (c *Cache) send(ctx context.Context, method, path, query, token, ns string, body []byte) (status int, answer []byte, err error) {
	resp, err := c.open(ctx, method, path, query, token, ns, body)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxAnswer))
	return resp.StatusCode, answer, err
}

func (c *Cache) open(ctx context.Context, method, path, query, token, ns string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, path, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	r.URL.RawQuery = query
	r.Header["X-Vault-Token"] = []string{token}
	r.Header["X-Vault-Request"] = []string{"true"}
	if ns != "" {
		r.Header["X-Vault-Namespace"] = []string{ns}
	}
	if len(body) > 0 {
		r.Header["Content-Type"] = []string{"application/json"}
	}
	return c.cfg.Do(r)
}
