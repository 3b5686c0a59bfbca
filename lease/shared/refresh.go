package shared

import (
	"context"
	"net/http"
	"time"
)

// refreshAhead reads a KV secret again, with the token of a caller who just used it,
// when it will soon be too old: nobody then waits for it.
func (c *Cache) refreshAhead(e *entry, a *Answer, r *Request, now time.Duration) {
	v := e.value
	if now-a.at < c.limit(v, a)*3/4 || v.renew.Swap(true) {
		return
	}
	again := *r
	if !c.background(func(ctx context.Context) { defer v.renew.Store(false); c.read(ctx, &again) }) {
		v.renew.Store(false)
	}
}

// read makes r once more and keeps the answer as if its caller had asked.
func (c *Cache) read(ctx context.Context, r *Request) {
	f := &Flight{c: c, r: *r, class: reading, full: r.full(), started: c.cfg.clock()}
	f.key = string(r.appendKey(nil))
	f.before = c.marks.now(f.full)
	resp, err := c.open(ctx, http.MethodGet, r.RawPath, r.Query, r.Token, r.Namespace, nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if !f.Wants(resp.StatusCode, resp.Header) {
		return
	}
	if body, whole := readAtMost(resp.Body, c.cfg.MaxAnswer); whole {
		f.Store(resp.Header, body)
	}
}
