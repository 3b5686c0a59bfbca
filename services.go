package main

import (
	"context"
	"sync"
)

// services are the goroutines that serve the program: session, store, renderer,
// listeners. They outlive it, so that it can use them to its last breath, and end
// together.
type services struct {
	ctx    context.Context //nolint:containedctx // it is the services' common life
	cancel context.CancelFunc
	fail   context.CancelCauseFunc // ends the program because a service has failed for good
	wg     sync.WaitGroup
}

// newServices returns an empty group and the program's context, which ends with
// ctx and, with the reason as its cause, when a service fails.
func newServices(ctx context.Context) (*services, context.Context) {
	program, fail := context.WithCancelCause(ctx)
	// Not a child of the program's context: its end must not end the services first.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &services{ctx: own, cancel: cancel, fail: fail}, program
}

// start runs a service until stop; its name is for the reader of the code. An error before that ends the program.
func (s *services) start(_ string, run func(context.Context) error) {
	s.wg.Go(func() {
		if err := run(s.ctx); err != nil && s.ctx.Err() == nil {
			s.fail(err)
		}
	})
}

// stop ends all services and waits for them.
func (s *services) stop() {
	s.cancel()
	s.wg.Wait()
	s.fail(nil)
}
