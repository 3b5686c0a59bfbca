package main

import (
	"context"
	"errors"
	"testing"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/secret"
)

// staleSink is a sink whose content may be out of date; the first writes fail.
type staleSink struct {
	got   []uint64
	fail  int
	stale bool
}

func (s *staleSink) WriteToken(_ context.Context, t secret.Token) error {
	if s.fail--; s.fail >= 0 {
		return errors.New("disk full")
	}
	s.got = append(s.got, t.Epoch)
	return nil
}
func (s *staleSink) Stale() bool { return s.stale }

// TestGate: while a configuration is on trial its sinks are left alone; then they have the
// newest token, and are asked as any other whether they want it again.
func TestGate(t *testing.T) {
	s := &staleSink{stale: true}
	g := &gate{Sink: s}
	var _ auth.Refresher = g
	for epoch := uint64(1); epoch < 3; epoch++ {
		if err := g.WriteToken(t.Context(), secret.Token{Epoch: epoch}); err != nil {
			t.Fatal(err)
		}
	}
	if g.Stale() || len(s.got) != 0 {
		t.Errorf("on trial: stale %v, written %v", g.Stale(), s.got)
	}
	if err := g.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !g.Stale() || len(s.got) != 1 || s.got[0] != 2 {
		t.Errorf("after it: stale %v, written %v", g.Stale(), s.got)
	}
	full := &staleSink{fail: 1}
	g = &gate{Sink: full}
	if err := g.WriteToken(t.Context(), secret.Token{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if err := g.pass(t.Context()); err == nil || !g.Stale() {
		t.Errorf("a write that failed is not owed: %v", err)
	}
	if err := g.WriteToken(t.Context(), secret.Token{Epoch: 1}); err != nil || g.Stale() {
		t.Errorf("written again: %v, stale %v", err, g.Stale())
	}
}
