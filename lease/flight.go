package lease

import (
	"context"
	"errors"
	"time"

	"github.com/envexec/envexec/secret"
)

// freshToken is how young a token may be for "invalid token" to be a standby's lag.
const freshToken = 2 * time.Second

// errCrowded ends a slow read that finds the slow lane full.
var errCrowded = errors.New("others wait behind a slow request")

// flight is one request for one entry.
type flight struct {
	e      *entry
	lane   lane
	number uint64
	renew  bool
	tok    *secret.Token
	lease  string // renew only
	ttl    time.Duration
	asked  time.Duration
	down   bool // landed
	// cancel ends the request to make room; nil for a write, which cannot be taken back.
	cancel context.CancelCauseFunc
}

// takeOff decides what e needs. s.mu is held.
func (s *Store) takeOff(e *entry, l lane, now time.Duration) *flight {
	e.phase = flying
	e.flights++
	f := &flight{e: e, number: e.flights, lane: l, tok: s.token, asked: now}
	if e.renewAt <= now && e.value != nil {
		f.renew, f.tok, f.lease, f.ttl = true, e.token, e.value.LeaseID, e.lease.ttl
	} else {
		e.wanted = false
	}
	return f
}

// fly makes f's request and applies what came of it.
func (s *Store) fly(ctx context.Context, f *flight) {
	own := ctx
	if f.e.req.Op != secret.Write || f.renew {
		own, f.cancel = context.WithCancelCause(ctx)
		defer f.cancel(nil)
	}
	slow := time.AfterFunc(s.cfg.SlowAfter, func() { s.slowDown(f) })
	defer slow.Stop()
	var sec *secret.Secret
	var a *answer
	var err error
	if f.renew {
		a, err = s.renew(own, f.tok, f.e.req, f.lease, f.ttl)
	} else {
		sec, a, err = s.fetch(own, f.tok, f.e.req)
	}
	var say func()
	s.mu.Lock()
	f.down = true
	f.e.slow = s.now()-f.asked >= s.cfg.SlowAfter
	switch {
	case f.e.phase == gone || ctx.Err() != nil:
	case err != nil && errors.Is(context.Cause(own), errCrowded): // tried again in the slow lane
	case err != nil:
		say = s.failed(f, err)
	case f.renew:
		say = s.renewed(f, a)
	default:
		say = s.fetched(f, sec, a)
	}
	if f.e.wanted {
		f.e.fetchAt = s.now()
	}
	s.requeue(f.e)
	s.mu.Unlock()
	if say != nil {
		say()
	}
}

// slowDown moves f out of the way of others.
func (s *Store) slowDown(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.down || f.lane != fastLane {
		return
	}
	if !s.lanes.slower() {
		if f.cancel != nil {
			f.cancel(errCrowded)
		}
		return
	}
	f.lane = slowLane
	s.armed = never
	s.rearm()
}

// fetched applies a new answer. s.mu is held; the result is called without it.
func (s *Store) fetched(f *flight, sec *secret.Secret, a *answer) func() {
	e, now := f.e, s.now()
	if bound(sec) {
		sec.Epoch = f.tok.Epoch
	}
	old, oldLease := e.value, e.lease
	s.supersede(e, now)
	e.value, e.token = sec, nil
	if bound(sec) {
		e.token = f.tok
	}
	e.landed = f.number
	recovered := e.err != nil
	e.refuse, e.err, e.fetchFails, e.rFails, e.restored = nil, nil, 0, 0, false
	s.plan.fetched(e, sec, a, f.asked, now)
	if bound(sec) && sec.Epoch < s.token.Epoch {
		e.wanted = true // a login came while we were away
	}
	changed := old == nil || !equal(old, sec)
	if changed || !oldLease.rolls || now < oldLease.end && e.stale == 0 {
		e.stale = 0
	} else {
		s.overdue(e, now)
	}
	s.mark(e, changed, now)
	for _, w := range e.readers {
		w.moved(e, old, changed)
	}
	e.wake()
	return func() {
		if recovered {
			s.log.Info("secret is readable again", "secret", e.req.String())
		}
		if changed {
			s.cfg.Trace.change(e.key, sec)
		}
	}
}

// overdue plans e whose time rolled over, or is up, while its value stayed: Vault
// has not rotated it yet. s.mu is held.
func (s *Store) overdue(e *entry, now time.Duration) {
	e.stale++
	soon := now + max(s.pause.Wait(e.stale, 0, 0), s.cfg.MinInterval)
	switch {
	case e.lease.ttl == 0: // no better moment is promised
		e.fetchAt = soon
	case e.stale <= maxStale:
		e.fetchAt = min(e.fetchAt, soon)
	default:
		e.stale = 0
	}
}

// maxStale is how often a rotated password is asked for again before the promised time is believed.
const maxStale = 8

// supersede keeps e's present lease, alive if that can be, beside its successor:
// the program still uses it. s.mu is held.
func (s *Store) supersede(e *entry, now time.Duration) {
	if e.value == nil || e.token == nil || e.lease.end != 0 && e.lease.end <= now {
		return
	}
	o := &entry{
		key: e.key, req: e.req, value: e.value, token: e.token,
		fetchAt: never, renewAt: e.renewAt, lease: e.lease, superseded: true,
	}
	switch {
	case o.renewAt == never && e.lease.end != 0:
		o.fetchAt = e.lease.end
	case e.token.Epoch == s.token.Epoch:
		o.fetchAt = after(now, s.cfg.OverlapLimit) // no Retire will come for it
	}
	s.old[o] = struct{}{}
	s.requeue(o)
}

// renewed applies a renewal. s.mu is held.
func (s *Store) renewed(f *flight, a *answer) func() {
	e, now := f.e, s.now()
	if !e.wanted && !e.superseded && e.epoch() == s.token.Epoch {
		e.fetchAt = never
	}
	e.err, e.rFails = nil, 0
	longer := *e.value
	longer.LeaseTTL, longer.ReadAt = a.ttl, time.Now()
	e.value = &longer
	s.plan.renewed(e, a.ttl, a.renewable, f.asked, now)
	return func() { s.cfg.Trace.renew(e.key, a.ttl) }
}

// failed applies a failure. s.mu is held.
func (s *Store) failed(f *flight, err error) func() {
	why := &failure{kind: transient, err: err}
	_ = errors.As(err, &why)
	if why.kind == badToken {
		return s.badToken(f, why)
	}
	if f.renew {
		return s.renewFailed(f, why)
	}
	e, now := f.e, s.now()
	news := e.err == nil || e.err.Error() != why.err.Error()
	e.err = why.err
	e.fetchFails++
	limit := patience(e.lease.end, now)
	if why.kind == transient && silent(why) {
		s.fallBack(e, why.err)
	}
	switch why.kind {
	case uncertain:
		e.refuse = why.err
		e.wake()
		if e.value == nil {
			e.fetchAt = never
			return func() { s.log.Warn("write may have been done", "secret", e.req.String(), "error", why.err) }
		}
	case refused:
		e.refuse, e.landed = why.err, f.number
		e.wake()
	}
	pause := s.pause
	if why.kind == refused {
		pause.Max = max(pause.Max, s.cfg.StaticInterval)
	}
	wait := pause.Wait(e.fetchFails, limit, why.wish)
	if e.req.Op == secret.Write {
		wait = max(wait, s.cfg.MinInterval)
	}
	e.fetchAt = now + wait
	return s.grumbling(e, why, wait, news)
}

// renewFailed applies a failed renewal. s.mu is held.
func (s *Store) renewFailed(f *flight, why *failure) func() {
	e, now := f.e, s.now()
	if e.superseded && why.kind != transient {
		s.drop(e)
		return nil
	}
	e.err = why.err
	switch why.kind {
	case notRenewable:
		s.plan.ending(e, now)
		return func() { s.log.Debug("lease cannot be renewed", "secret", e.req.String(), "error", why.err) }
	case transient:
		e.rFails++
		wait := s.pause.Wait(e.rFails, patience(e.lease.end, now), why.wish)
		s.plan.ending(e, now)
		e.renewAt = now + wait
		if e.renewAt >= e.lease.end && !e.superseded {
			e.renewAt = never
		}
		return s.grumbling(e, why, wait, false)
	default: // the lease is over
		e.renewAt, e.fetchAt = never, now
		return func() { s.log.Warn("lease is gone, fetching anew", "secret", e.req.String(), "error", why.err) }
	}
}

// badToken applies a 403 that says the token is no more. s.mu is held.
func (s *Store) badToken(f *flight, why *failure) func() {
	e, now := f.e, s.now()
	e.err = why.err
	if e.superseded {
		s.drop(e)
		return nil
	}
	if f.renew {
		e.renewAt = never // it died with its token
	}
	switch {
	case f.tok.Epoch < s.token.Epoch:
		e.fetchAt = now
		return nil
	case now-s.tokenAt < freshToken:
		e.fetchFails++
		e.fetchAt = now + s.pause.Wait(e.fetchFails, freshToken, why.wish)
		return nil
	}
	e.fetchAt = now + s.cfg.MaxBackoff // a new token comes sooner
	if s.invalid >= f.tok.Epoch {
		return nil
	}
	s.invalid = f.tok.Epoch
	tok := *f.tok
	return func() {
		s.log.Warn("vault no longer knows the token", "epoch", tok.Epoch)
		if s.cfg.OnInvalidToken != nil {
			s.cfg.OnInvalidToken(tok)
		}
	}
}
