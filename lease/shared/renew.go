package shared

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/envexec/envexec/internal/clock"
)

// Run renews what is kept and forgets what ends, until ctx ends. It returns ctx's error
// after all its work has ended. Once.
func (c *Cache) Run(ctx context.Context) error {
	c.mu.Lock()
	c.life = ctx
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.work.Wait()
		if c.shelf == nil {
			return
		}
		if err := c.save(); err != nil {
			c.log.Warn("cached answers were not written to the sealed cache", "error", err)
		}
	}()
	if c.shelf != nil {
		c.background(c.saver)
	}
	if c.cfg.Static && c.cfg.Events != nil {
		c.background(c.follow)
	}
	places := make(chan struct{}, c.cfg.RenewWorkers)
	timer := time.NewTimer(clock.MaxSleep)
	defer timer.Stop()
	for {
		e, wait := c.next()
		if e != nil {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			if !c.background(func(ctx context.Context) { c.renew(ctx, e); <-places }) {
				<-places
			}
			continue
		}
		timer.Reset(min(wait, clock.MaxSleep))
		select {
		case <-timer.C:
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next returns an entry to renew, or how long nothing is due. What ended is dropped.
func (c *Cache) next() (*entry, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		now := c.cfg.clock()
		e, ok := c.queue.First()
		switch {
		case !ok:
			return nil, clock.MaxSleep
		case e.At > now:
			return nil, e.At - now
		}
		c.queue.Remove(e)
		if e.last || now >= time.Duration(e.end.Load()) {
			c.finish(e)
			continue
		}
		e.busy = true
		return e, 0
	}
}

// finish drops an entry whose time is over: a new request gets a new one. mu is held.
func (c *Cache) finish(e *entry) {
	if e.made != nil {
		c.drop(e.made)
	}
	c.remove(e)
}

// schedule sets when e is renewed, or dropped when it cannot be any more: a tenth of
// its time before its end, so that nobody is given what is about to die. mu is held.
func (c *Cache) schedule(e *entry) {
	now := c.cfg.clock()
	left := time.Duration(e.end.Load()) - now
	if e.last {
		e.At = now + left - left/10
		if e.key == "" && e.made != nil {
			e.At = now + left // only known: it lives as long as it lives
		}
	} else {
		e.At = now + left*2/3 - time.Duration(c.cfg.random()*float64(left)/20)
	}
	e.fails = 0
	c.requeue(e)
}

func (c *Cache) requeue(e *entry) {
	if e.gone.Load() || e.busy {
		return
	}
	c.queue.Set(e)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// renew asks for more time for e and notes the outcome.
func (c *Cache) renew(ctx context.Context, e *entry) {
	path, token := "/v1/sys/leases/renew", ""
	body := map[string]any{"increment": int(e.ttl / time.Second)}
	c.mu.RLock()
	switch {
	case e.made != nil:
		path, token = "/v1/auth/token/renew-self", e.made.token
	default:
		token, body["lease_id"] = e.caller.token, e.lease
	}
	c.mu.RUnlock()
	encoded, _ := json.Marshal(body)
	asked := c.cfg.clock()
	status, answer, err := c.send(ctx, http.MethodPut, path, "", token, e.ns, encoded)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.busy = false
	if e.gone.Load() || ctx.Err() != nil {
		return
	}
	p := parse(answer)
	switch {
	case err == nil && status == http.StatusOK && p != nil:
		ttl, renewable := seconds(p.Duration), p.Renewable
		if p.Auth != nil {
			ttl, renewable = seconds(p.Auth.Duration), p.Auth.Renewable
		}
		c.counts.renewed.Add(1)
		e.end.Store(int64(asked + ttl))
		// Half of what it had or less: its maximum is near.
		e.last = !renewable || ttl <= e.ttl/2
		c.schedule(e)
		c.touch(e)
	case err == nil && status >= 400 && !forNow(status):
		c.renewalRefused(e, status, answer)
	default:
		e.fails++
		now := c.cfg.clock()
		left := time.Duration(e.end.Load()) - now
		e.At = now + max(min(c.backoff.Wait(e.fails, 0, 0), left), 0)
		c.requeue(e)
		c.log.Warn("renewal failed, will be repeated", "path", e.full, "status", status, "error", said(err))
	}
}

// renewalRefused: the lease is gone, its token is, or it may only live to its end. mu is held.
func (c *Cache) renewalRefused(e *entry, status int, answer []byte) {
	c.log.Info("renewal refused", "path", e.full, "status", status)
	switch {
	case status == http.StatusForbidden && bytes.Contains(answer, []byte("invalid token")):
		if e.made != nil {
			c.finish(e)
			return
		}
		c.drop(e.caller)
	case status == http.StatusForbidden, bytes.Contains(answer, []byte("not renewable")):
		e.last = true
		c.schedule(e)
	default:
		c.finish(e)
	}
}

// said is err's text without what a URL may hold.
func said(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%T", err)
}
