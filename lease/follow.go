package lease

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/internal/events"
	"github.com/envexec/envexec/secret"
)

const (
	// followAfter spares a program that is done at once the request for the stream.
	followAfter = 2 * time.Second
	// noEvents is the pause before a server that has no events, or refused them, is asked again.
	noEvents = time.Hour
	// eventGap is the least time between two reads of one secret for events' sake.
	eventGap = 500 * time.Millisecond
)

// follow listens to the server's events, where it has them, until ctx ends: a changed
// secret is read at once. Its interval stays, for events get lost, and none come about
// paths the token may not subscribe to. A token of few uses is not spent on it.
func (s *Store) follow(ctx context.Context) {
	for pause(ctx, followAfter); ctx.Err() == nil && !s.followable(); {
		pause(ctx, followAfter)
	}
	for fails := 1; ctx.Err() == nil; fails++ {
		t := s.newestToken()
		if t.NumUses > 0 {
			s.untilOtherToken(ctx, t)
			continue
		}
		err := events.Listen(ctx, s.cfg.Events, t, func() {
			fails = 1
			s.log.Info("the server tells of changed secrets as they happen")
		}, s.heard)
		wait := s.pause.Wait(fails, 0, 0)
		if errors.Is(err, events.ErrNone) {
			wait = noEvents
			s.log.Debug("the server tells of no changes: secrets are read by their intervals alone")
		} else if errors.Is(err, events.ErrRefused) {
			s.log.Debug("no event stream", "error", err)
			s.untilOtherToken(ctx, t)
			continue
		} else if ctx.Err() == nil {
			s.log.Debug("event stream ended, will be opened again", "error", err, "wait", wait)
		}
		pause(ctx, wait)
	}
}

// untilOtherToken returns when t is no longer the newest token, or after noEvents.
func (s *Store) untilOtherToken(ctx context.Context, t secret.Token) {
	for until := s.now() + noEvents; ctx.Err() == nil && s.now() < until && s.newestToken().Epoch == t.Epoch; {
		pause(ctx, clock.MaxSleep)
	}
}

// followable reports whether there is a token and something that events can be about.
func (s *Store) followable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return false
	}
	for _, e := range s.entries {
		if e.value != nil && e.value.KV != 0 {
			return true
		}
	}
	return false
}

func (s *Store) newestToken() secret.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.token
}

// heard reads again what an event says has changed.
func (s *Store) heard(c events.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.value == nil || e.value.KV == 0 || !about(c, s.token.Namespace, e.req) {
			continue
		}
		now := s.now()
		s.fetchSoon(e, now+max(eventGap-time.Since(e.value.ReadAt), 0))
	}
	s.rearm()
}

// about reports whether c is a change of what req reads.
func about(c events.Change, namespace string, req secret.Request) bool {
	ns := strings.Trim(strings.Trim(namespace, "/")+"/"+strings.Trim(req.Namespace, "/"), "/")
	for _, p := range c.Paths {
		if ns == c.Namespace && p == strings.Trim(req.Path, "/") {
			return true
		}
	}
	return false
}
