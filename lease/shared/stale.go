package shared

import (
	"net/http"
	"time"
)

// Stale is the KV secret the caller has a ticket for when Vault does not answer; nil = none.
func (f *Flight) Stale() *Answer {
	if f == nil {
		return nil
	}
	c := f.c
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.entries[f.key]
	now := c.cfg.clock()
	if e == nil || e.value == nil || !e.caller.trusted(now) {
		return nil
	}
	a := e.value.answer.Load()
	if a == nil || now-a.at >= c.cfg.MaxAgeOffline || c.cfg.Pessimistic && now >= time.Duration(e.until.Load()) {
		return nil
	}
	return a
}

// Write sends a stale answer as a hit.
func (f *Flight) Write(w http.ResponseWriter, a *Answer) { a.write(w, f.c.cfg.clock()) }
