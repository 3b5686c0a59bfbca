package auth

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// deliver gives each token to the First, in order, and then to every sink. Sinks have
// nothing to do with each other: one that hangs or fails keeps no other waiting.
func (s *Session) deliver(ctx context.Context, fresh <-chan secret.Token) {
	var work sync.WaitGroup
	defer work.Wait()
	type receipt struct {
		sink  int
		epoch uint64
	}
	receipts, slots, have := make(chan receipt), make([]chan secret.Token, len(s.cfg.Sinks)), make([]uint64, len(s.cfg.Sinks))
	for i := range slots {
		slots[i] = make(chan secret.Token, 1) // the newest wins
		work.Go(func() {
			s.carry(ctx, i, slots[i], func(epoch uint64) {
				select {
				case receipts <- receipt{i, epoch}:
				case <-ctx.Done():
				}
			})
		})
	}
	var newest, said uint64
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
			newest = t.Epoch
			for _, slot := range slots {
				select {
				case <-slot:
				default:
				}
				slot <- t
			}
		case r := <-receipts:
			have[r.sink] = r.epoch
		}
		missing := slices.ContainsFunc(have, func(e uint64) bool { return e != newest })
		if !missing && said != newest {
			said = newest
			if s.cfg.Trace.OnDelivered != nil {
				s.cfg.Trace.OnDelivered(newest)
			}
		}
	}
}

// carry writes each token to one sink: again when that fails, until a newer one is there, and
// again when the sink says that what it holds is of no use any more.
func (s *Session) carry(ctx context.Context, i int, slot <-chan secret.Token, done func(epoch uint64)) {
	sink := s.cfg.Sinks[i]
	refresher, _ := sink.(Refresher)
	var look <-chan time.Time
	if refresher != nil {
		ticker := time.NewTicker(pollFiles)
		defer ticker.Stop()
		look = ticker.C
	}
	var t secret.Token
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case t = <-slot:
		case <-look:
			if t.ID.Empty() || retry != nil || !refresher.Stale() {
				continue
			}
		case <-retry:
		}
		retry = nil
		writing, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		err := sink.WriteToken(writing, t)
		cancel()
		switch {
		case err == nil:
			done(t.Epoch)
		case ctx.Err() == nil:
			s.cfg.Logger.Warn("token was not written to its sink", "sink", i+1, "epoch", t.Epoch, "error", err)
			retry = time.After(sinkRetryMin + part(sinkRetryMax-sinkRetryMin, s.cfg.random()))
		}
	}
}
