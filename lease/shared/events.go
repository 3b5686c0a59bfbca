package shared

import (
	"context"
	"errors"
	"time"

	"github.com/envexec/envexec/internal/events"
)

// noEvents is the pause before a server that has no events is asked again.
const noEvents = 10 * time.Minute

// follow keeps the event stream open until ctx ends. While it is open, and only for
// what was read after it was opened, MaxAgeEvents replaces MaxAge.
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
		if errors.Is(err, events.ErrNone) {
			wait = noEvents
			c.log.Info("the server tells of no changes: cached secrets are read again instead", "max_age", c.cfg.MaxAge)
		} else {
			c.log.Warn("event stream ended, will be opened again", "error", err, "wait", wait)
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
