package auth

import (
	"context"
	"slices"
	"time"

	"github.com/envexec/envexec/secret"
)

// deliver writes each token to all sinks in order. A sink that fails gets it
// again, until it has it or a newer token is there; the others do not wait for it.
func (s *Session) deliver(ctx context.Context, fresh <-chan secret.Token) {
	look, stop := s.lookAtSinks()
	defer stop()
	var t secret.Token
	var pending []int
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case t = <-fresh:
			pending = pending[:0]
			for i := range s.cfg.Sinks {
				pending = append(pending, i)
			}
		case <-look:
			stale := s.stale(pending)
			if t.ID.Empty() || len(stale) == 0 {
				continue
			}
			pending = append(pending, stale...)
		case <-retry:
		}
		retry = nil
		pending = s.write(ctx, t, pending)
		if len(pending) > 0 {
			retry = time.After(sinkRetryMin + part(sinkRetryMax-sinkRetryMin, s.cfg.random()))
		} else if s.cfg.Trace.OnDelivered != nil {
			s.cfg.Trace.OnDelivered(t.Epoch)
		}
	}
}

// lookAtSinks ticks while there are sinks that may become stale.
func (s *Session) lookAtSinks() (tick <-chan time.Time, stop func()) {
	for _, sink := range s.cfg.Sinks {
		if _, ok := sink.(Refresher); ok {
			t := time.NewTicker(pollFiles)
			return t.C, t.Stop
		}
	}
	return nil, func() {}
}

// stale lists the sinks to write again, but for those that will be anyway.
func (s *Session) stale(pending []int) (list []int) {
	for i, sink := range s.cfg.Sinks {
		if r, ok := sink.(Refresher); ok && !slices.Contains(pending, i) && r.Stale() {
			list = append(list, i)
		}
	}
	return list
}

// write returns the sinks that failed.
func (s *Session) write(ctx context.Context, t secret.Token, sinks []int) (failed []int) {
	for _, i := range sinks {
		err := s.cfg.Sinks[i].WriteToken(ctx, t)
		if err == nil || ctx.Err() != nil {
			continue
		}
		failed = append(failed, i)
		s.cfg.Logger.Warn("token was not written to its sink", "sink", i+1, "epoch", t.Epoch, "error", err)
	}
	return failed
}
