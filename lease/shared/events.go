package shared

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/events"
)

// noEvents is the pause before a server that has no events, or refused them, is asked again.
const noEvents = 10 * time.Minute

// follow keeps the event stream open until ctx ends. While it is open MaxAgeEvents
// replaces MaxAge, for what was read after it was opened and the session may hear of.
// Events alone are never believed for ever: servers lose some (Vault 1.15 does, tried).
func (c *Cache) follow(ctx context.Context) {
	for fails := 1; ; fails++ {
		opened, err := c.listen(ctx)
		c.events.Store(0)
		if ctx.Err() != nil {
			return
		}
		if opened {
			fails = 1
		}
		wait := c.backoff.Wait(fails, 0, 0)
		if errors.Is(err, events.ErrRefused) {
			wait = noEvents
		}
		level := slog.LevelDebug // said once, then only when it changes
		if fails == 1 {
			level = slog.LevelInfo
		}
		if errors.Is(err, events.ErrNone) {
			wait = noEvents
			c.log.Log(ctx, level, "the server tells of no changes: cached secrets are read again instead", "max_age", c.cfg.MaxAge)
		} else {
			c.log.Log(ctx, level, "no event stream, cached secrets are read again until there is one", "max_age", c.cfg.MaxAge, "error", err, "wait", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// listen opens the stream and reads it until it breaks.
func (c *Cache) listen(ctx context.Context) (opened bool, err error) {
	token, err := c.cfg.Events(ctx)
	if err != nil {
		return false, err
	}
	err = events.Listen(ctx, c.cfg.Do, *token, func() {
		opened = true
		c.log.Info("the server tells of changes")
		c.events.Store(int64(c.cfg.clock()))
	}, c.changed)
	return opened, err
}

// changed drops the secret an event is about.
func (c *Cache) changed(e events.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, path := range e.Paths {
		full := join(e.Namespace, path)
		c.marks.write(full)
		for _, g := range groups(full) {
			for v := range c.groups[g] {
				c.removeValue(v)
			}
		}
	}
}

// followed finds out whether the session may hear of changes of v: the server sends
// nothing about a path the token may not subscribe to, and does not say so. r read it. mu is held.
func (c *Cache) followed(v *value, r *Request) {
	since := c.events.Load()
	if since == 0 || v.followed.Load() == since || c.life == nil || c.closed || v.asked.Swap(true) {
		return
	}
	ctx, ns, path := c.life, r.Namespace, strings.TrimPrefix(r.Path, "/v1/")
	c.work.Go(func() {
		defer v.asked.Store(false)
		if c.subscribes(ctx, ns, path) {
			v.followed.Store(since)
		}
	})
}

// subscribes asks Vault whether the session's token may hear of a path.
func (c *Cache) subscribes(ctx context.Context, ns, path string) bool {
	token, err := c.cfg.Events(ctx)
	if err != nil {
		return false
	}
	question, _ := json.Marshal(map[string][]string{"paths": {path}})
	status, body, err := c.send(ctx, http.MethodPost, "/v1/sys/capabilities-self", "", token.ID.Reveal(), ns, question)
	var answer struct {
		Capabilities []string `json:"capabilities"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &answer) != nil {
		return false
	}
	return slices.Contains(answer.Capabilities, "subscribe") || slices.Contains(answer.Capabilities, "root")
}
