package main

import (
	"context"
	"sync"

	"github.com/envexec/envexec/internal/fault"
)

// services are the goroutines that serve the program: session, store, renderer,
// listeners. They outlive it, so that it can use them to its last breath, and end
// together, or a group of them before the others.
type services struct {
	ctx    context.Context //nolint:containedctx // it is the services' common life
	cancel context.CancelFunc
	fail   context.CancelCauseFunc // ends the program because a service has failed for good
	parent *services               // nil: all services
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

// group returns a part of s that can end before the rest. A service of it that fails
// calls fail.
func (s *services) group(fail context.CancelCauseFunc) *services {
	ctx, cancel := context.WithCancel(s.ctx)
	return &services{ctx: ctx, cancel: cancel, fail: fail, parent: s}
}

// start runs a service until stop; its name is for the reader of the code. An error before that ends the program.
func (s *services) start(_ string, run func(context.Context) error) {
	s.wg.Go(func() {
		if err := fault.Try(func() error { return run(s.ctx) }); err != nil && !s.ending() {
			s.fail(err)
		}
	})
	for part := s; part.parent != nil; part = part.parent {
		part.parent.wg.Go(part.wg.Wait)
	}
}

// ending reports whether s or what it is a part of ends: the end reaches a part's context
// later than the whole's, and what fails in between fails because of it.
func (s *services) ending() bool {
	for part := s; part != nil; part = part.parent {
		if part.ctx.Err() != nil {
			return true
		}
	}
	return false
}

// end ends the services and waits for them.
func (s *services) end() {
	s.cancel()
	s.wg.Wait()
}

// stop ends all services, waits for them and lets go of the program's context.
func (s *services) stop() {
	s.end()
	s.fail(nil)
}
