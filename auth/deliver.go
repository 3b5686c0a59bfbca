package auth

import (
	"context"
	"time"

	"github.com/envexec/envexec/secret"
)

// deliver writes each token to all sinks in order. A sink that fails gets it
// again, until it has it or a newer token is there; the others do not wait for it.
func (s *Session) deliver(ctx context.Context, fresh <-chan secret.Token) {
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
