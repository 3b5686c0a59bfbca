package auth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/secret"
)

// delivery is the state of deliver; only its goroutine touches it.
type delivery struct {
	*Session
	ctx      context.Context
	work     *sync.WaitGroup
	couriers []*courier
	receipts chan receipt
	newest   secret.Token
	said     uint64 // epoch OnDelivered was told of
	waiting  []*replacement
}

// courier carries tokens to one sink. have belongs to the delivery.
type courier struct {
	sink   Sink
	number atomic.Int64 // among the sinks, from 1, for messages
	slot   chan secret.Token
	leave  context.CancelFunc
	have   uint64 // epoch its sink has; 0 = none
}

type receipt struct {
	from  *courier
	epoch uint64
}

// replacement is what SetSinks wants; done is closed when the new sinks have a token.
type replacement struct {
	sinks []Sink
	fresh []*courier
	done  chan struct{}
}

// SetSinks puts other sinks in the place of those before. One that was there already, the
// same value, goes on undisturbed; a new one is given the newest token, if there is one, and
// SetSinks returns when all of them have it, with an error when ctx has ended first. What
// the others wrote stays. From the first sink on tokens are others' too, and none is
// revoked any more. Use it while Run runs, one call at a time, and not with Config.WrapTTL;
// sinks must be comparable.
func (s *Session) SetSinks(ctx context.Context, sinks []Sink) error {
	if s.cfg.WrapTTL > 0 {
		return errors.New("replace sinks: a wrapped token is for one reader")
	}
	if len(sinks) > 0 {
		s.handedOut.Store(true)
	}
	r := &replacement{sinks: s.withKeeper(sinks), done: make(chan struct{})}
	select {
	case s.replacements <- r:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// withKeeper adds the one that keeps tokens for the next start.
func (s *Session) withKeeper(sinks []Sink) []Sink {
	if s.cfg.Keep == nil || s.cfg.WrapTTL > 0 { // what is wrapped is not ours
		return sinks
	}
	return append(slices.Clone(sinks), keeping{s})
}

// deliver gives each token to the First, in order, and then to every sink. Sinks have
// nothing to do with each other: one that hangs or fails keeps no other waiting.
func (s *Session) deliver(ctx context.Context, fresh <-chan secret.Token) {
	var work sync.WaitGroup
	defer work.Wait()
	d := &delivery{Session: s, ctx: ctx, work: &work, receipts: make(chan receipt)}
	d.replace(&replacement{sinks: s.withKeeper(s.cfg.Sinks), done: make(chan struct{})})
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-fresh:
			for _, first := range s.cfg.First {
				if err := first.WriteToken(ctx, t); err != nil {
					s.cfg.Logger.Error("token was not taken", "epoch", t.Epoch, "error", err)
				}
			}
			d.newest = t
			for _, c := range d.couriers {
				c.give(t)
			}
		case r := <-d.receipts:
			r.from.have = r.epoch
		case r := <-s.replacements:
			d.replace(r)
		}
		d.tell()
	}
}

// replace employs a courier for each new sink and lets go those of the sinks that are none any more.
func (d *delivery) replace(r *replacement) {
	before := d.couriers
	d.couriers = nil
	for i, sink := range r.sinks {
		at := slices.IndexFunc(before, func(c *courier) bool { return c.sink == sink })
		var c *courier
		if at >= 0 {
			c = before[at]
			before = slices.Delete(before, at, at+1)
		} else {
			c = &courier{sink: sink, slot: make(chan secret.Token, 1)}
			r.fresh = append(r.fresh, c)
		}
		c.number.Store(int64(i + 1))
		d.couriers = append(d.couriers, c)
	}
	for _, c := range before {
		c.leave()
	}
	for _, c := range r.fresh {
		d.employ(c)
	}
	d.waiting = append(d.waiting, r)
}

func (d *delivery) employ(c *courier) {
	ctx, leave := context.WithCancel(d.ctx)
	c.leave = leave
	if !d.newest.ID.Empty() {
		c.give(d.newest)
	}
	d.work.Go(func() {
		defer leave()
		d.carry(ctx, c, func(epoch uint64) {
			select {
			case d.receipts <- receipt{c, epoch}:
			case <-ctx.Done():
			}
		})
	})
}

// tell says who has what to those who wait for it.
func (d *delivery) tell() {
	d.waiting = slices.DeleteFunc(d.waiting, func(r *replacement) bool {
		if !d.newest.ID.Empty() && slices.ContainsFunc(r.fresh, func(c *courier) bool { return c.have == 0 }) {
			return false
		}
		close(r.done)
		return true
	})
	missing := slices.ContainsFunc(d.couriers, func(c *courier) bool { return c.have != d.newest.Epoch })
	if !missing && d.said != d.newest.Epoch {
		d.said = d.newest.Epoch
		if d.cfg.Trace.OnDelivered != nil {
			d.cfg.Trace.OnDelivered(d.said)
		}
	}
}

// give hands t to the courier; the newest wins.
func (c *courier) give(t secret.Token) {
	select {
	case <-c.slot:
	default:
	}
	c.slot <- t
}

// carry writes each token to one sink: again when that fails, until a newer one is there, and
// again when the sink says that what it holds is of no use any more.
func (s *Session) carry(ctx context.Context, c *courier, done func(epoch uint64)) {
	refresher, _ := c.sink.(Refresher)
	var look <-chan time.Time
	if refresher != nil {
		ticker := time.NewTicker(pollFiles)
		defer ticker.Stop()
		look = ticker.C
	}
	var t secret.Token
	var retry <-chan time.Time
	failures := 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case t = <-c.slot:
			failures = 0
		case <-look:
			if t.ID.Empty() || !refresher.Stale() {
				continue
			}
		case <-retry:
		}
		retry = nil
		writing, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		err := c.sink.WriteToken(writing, t)
		cancel()
		switch {
		case err == nil:
			failures = 0
			done(t.Epoch)
		case ctx.Err() == nil:
			pause := sinkRetryMin + part(sinkRetryMax-sinkRetryMin, s.cfg.random())
			pause = min(pause<<failures, sinkRetryMost)
			failures = min(failures+1, 5)
			s.cfg.Logger.Warn("token was not written to its sink", "sink", c.number.Load(), "epoch", t.Epoch, "error", err, "retry_in", pause.Round(time.Millisecond))
			retry = time.After(pause)
		}
	}
}
