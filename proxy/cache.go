package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/envexec/envexec/lease/shared"
	"github.com/envexec/envexec/secret"
)

// Cache configures the cache behind the listeners. Zero values mean the default
// named in each comment.
type Cache struct {
	NoLeases      bool // do not keep leases and created tokens
	StaticSecrets bool // keep KV secrets
	ShareLogins   bool // equal logins share one token

	MaxAge        time.Duration // of a KV secret; 0 = ask Vault every time
	MaxAgeEvents  time.Duration // the same while the server tells of its changes; 1m
	MaxAgeOffline time.Duration // the same while Vault does not answer; 0 = not served then
	TicketLife    time.Duration // how long a caller's own read of a KV secret earns it hits; 5m
	Pessimistic   bool          // and no longer, also while Vault does not answer

	MaxBytes int64 // 64 MiB

	Persist       shared.Persist // where entries outlive a restart; nil = memory only
	PersistMaxAge time.Duration  // older ones are not used; 24h
}

func (p *Proxy) newCache() (*shared.Cache, error) {
	c := p.cfg.Cache
	var events func(context.Context) (*secret.Token, error)
	if p.cfg.AutoAuth {
		events = p.session.token
	}
	return shared.New(shared.Config{
		Events: events,
		Do:     p.do, Leases: !c.NoLeases, Static: c.StaticSecrets, ShareLogins: c.ShareLogins,
		MaxAge: c.MaxAge, MaxAgeEvents: c.MaxAgeEvents, MaxAgeOffline: c.MaxAgeOffline,
		TicketLife: c.TicketLife, Pessimistic: c.Pessimistic, MaxBytes: c.MaxBytes, Logger: p.log,
		Persist: c.Persist, PersistMaxAge: c.PersistMaxAge,
	})
}

// do sends a request of the cache's own.
func (p *Proxy) do(r *http.Request) (*http.Response, error) {
	p.aim(r)
	for name, values := range p.upstream.headers {
		r.Header[name] = values
	}
	if p.cfg.UserAgent != "" {
		r.Header["User-Agent"] = []string{p.cfg.UserAgent}
	}
	p.states.send(r.Header)
	resp, err := p.upstream.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusForbidden {
		token := r.Header.Get(headerToken)
		p.heal(resp, &call{token: token, own: p.session.owns(token)})
	}
	return resp, err
}

// differs reports whether a header can make an answer differ in a way no key holds:
// any of Vault's that we do not know, for there will be more of them.
func differs(name string) bool {
	switch name {
	case headerToken, headerNamespace, headerRequest, headerIndex, headerForward, headerStale:
		return false
	case "Upgrade", "Range", "Origin":
		return true
	}
	return strings.HasPrefix(name, "X-Vault-")
}

// describe tells the cache about r. bypass: it must neither answer nor keep the answer.
func (c *call) describe(r *http.Request) {
	c.req = shared.Request{
		Method: r.Method, Path: r.URL.Path, RawPath: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Namespace: c.ns, Token: c.token, Session: c.own,
	}
	for name := range r.Header {
		c.bypass = c.bypass || differs(name)
	}
	for _, v := range r.Header["Authorization"] { // a login of Kerberos proves itself there
		c.bypass = c.bypass || !strings.HasPrefix(v, "Bearer ")
	}
	if len(r.Header[headerIndex])+len(r.Header[headerForward])+len(r.Header[headerStale]) > 0 {
		c.req.Fresh = true
	}
	for _, v := range r.Header["Cache-Control"] {
		v = strings.ToLower(v)
		if strings.Contains(v, "no-cache") || strings.Contains(v, "no-store") || strings.Contains(v, "max-age=0") {
			c.req.Fresh = true
		}
	}
}

// describeBody adds the kept body.
func (c *call) describeBody(r *http.Request) {
	if len(c.body) > 0 {
		c.req.Body, c.req.ContentType = c.body, r.Header.Get("Content-Type")
	}
}

// fromCache answers a plain read from the cache, the short road.
func (p *Proxy) fromCache(w http.ResponseWriter, r *http.Request, c *call) bool {
	if p.cache == nil {
		return false
	}
	c.describe(r)
	return !c.bypass && r.Method == http.MethodGet && r.ContentLength == 0 && p.cache.Serve(w, &c.req)
}

// throughCache sends r to Vault unless an equal request brings the answer, and lets
// the cache see what comes back.
func (p *Proxy) throughCache(w http.ResponseWriter, r *http.Request, c *call) {
	if p.cache == nil {
		p.forward(w, r, c)
		return
	}
	c.describeBody(r)
	if len(c.body) > 0 && c.kept && !c.bypass && p.cache.Serve(w, &c.req) {
		return
	}
	c.change = p.cache.Change(&c.req)
	defer func() { c.change.End(0, nil) }()
	if !c.bypass && c.kept {
		served, flight := p.cache.Enter(r.Context(), w, &c.req)
		if served {
			c.change.End(http.StatusNotModified, nil)
			return
		}
		c.flight = flight
		defer flight.Close()
	}
	p.forward(w, r, c)
}

// errAway: Vault answers, but not for itself.
var errAway = errors.New("vault is unavailable")

// remember shows an answer to the cache.
func (p *Proxy) remember(resp *http.Response, c *call) error {
	if p.cache == nil {
		return nil
	}
	if c.change != nil {
		var body []byte
		if c.change.Wants() && resp.StatusCode == http.StatusOK {
			body, _ = peek(resp, 1<<20)
		}
		c.change.End(resp.StatusCode, body)
	}
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented && c.flight.Stale() != nil {
		return errAway
	}
	if c.flight.Wants(resp.StatusCode, resp.Header) {
		if body, whole := peek(resp, c.flight.MaxAnswer()); whole {
			c.flight.Store(resp.Header, body)
		}
		c.flight.Close()
	}
	if resp.StatusCode < 400 {
		resp.Header["X-Cache"] = []string{"MISS"}
	}
	return nil
}

// stale answers with what the cache still may serve while Vault is away.
func (p *Proxy) stale(w http.ResponseWriter, c *call) bool {
	if p.cache == nil || c.flight == nil {
		return false
	}
	a := c.flight.Stale()
	if a != nil {
		c.flight.Write(w, a)
	}
	return a != nil
}

// Revoked tells that the session's tokens were revoked after Run ended: what hangs on
// them must not be used by a later start.
func (p *Proxy) Revoked() error {
	if p.cache == nil {
		return nil
	}
	var tokens []string
	for _, t := range p.session.all() {
		tokens = append(tokens, t.ID.Reveal())
	}
	return p.cache.Revoked(tokens...)
}

// Epoch is the oldest login a kept lease depends on; 0 = none. Tokens of that login
// and later ones must stay alive for the clients that were given those leases.
func (p *Proxy) Epoch() uint64 {
	if p.cache == nil {
		return 0
	}
	oldest := uint64(0)
	for _, t := range p.session.all() {
		if p.cache.Holds(t.ID.Reveal()) && (oldest == 0 || t.Epoch < oldest) {
			oldest = t.Epoch
		}
	}
	return oldest
}
