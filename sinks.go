package main

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/sink"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/secret"
)

// sinkPatience is how long a reload waits for its sinks.
const sinkPatience = 5 * time.Second

// newSinks makes the sinks of a configuration; those that were there before, as before says, stay.
func (v *vaultSide) newSinks(wanted, before []config.Sink) ([]auth.Sink, error) {
	sinks, taken := make([]auth.Sink, len(wanted)), make([]bool, len(before))
	for i, s := range wanted {
		for j := range before {
			if sinks[i] == nil && !taken[j] && config.Same(s, before[j]) {
				sinks[i], taken[j] = v.sinks[j], true
			}
		}
		if sinks[i] != nil {
			continue
		}
		var err error
		if sinks[i], err = v.newSink(s); err != nil {
			return nil, fmt.Errorf("%s: sink: %w", s.Pos, err)
		}
	}
	return sinks, nil
}

func (v *vaultSide) newSink(s config.Sink) (auth.Sink, error) {
	c := sink.Config{
		File:    sink.FileConfig{Path: s.Path, Mode: fs.FileMode(s.Mode), UID: s.Owner, GID: s.Group},
		WrapTTL: s.WrapTTL,
		Client:  v.client,
	}
	if s.DHType != "" {
		c.DH = &sink.DH{PublicKeyPath: s.DHPath, DeriveKey: s.DeriveKey, AAD: s.AAD}
	}
	file, err := sink.New(c)
	if err != nil {
		return nil, err
	}
	return file, file.Check()
}

// passTokens gives the sinks what they missed while v was on trial.
func (v *vaultSide) passTokens(ctx context.Context) {
	if v == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sinkPatience)
	defer cancel()
	var work sync.WaitGroup
	for _, g := range v.gates {
		work.Go(func() {
			if err := g.pass(ctx); err != nil {
				v.log.Warn("a sink does not have the new token yet", "error", err)
			}
		})
	}
	work.Wait()
}

// replaceSinks puts the sinks of a reload in the place of the old ones, whose files stay.
func (v *vaultSide) replaceSinks(ctx context.Context, sinks []auth.Sink) {
	v.sinks = sinks
	v.revokes = v.revokes && len(sinks) == 0 // who reads a sink may use its token after our end
	ctx, cancel := context.WithTimeout(ctx, sinkPatience)
	defer cancel()
	if err := v.session.SetSinks(ctx, sinks); err != nil {
		v.log.Warn("a new sink does not have the token yet", "error", err)
	}
}

// gate keeps the tokens of a login that is still on trial from a sink.
type gate struct {
	auth.Sink
	mu   sync.Mutex
	open bool
	owed bool // the sink does not have last
	last secret.Token
}

// WriteToken implements auth.Sink.
func (g *gate) WriteToken(ctx context.Context, t secret.Token) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last, g.owed = t, true; !g.open {
		return nil
	}
	return g.write(ctx)
}

func (g *gate) write(ctx context.Context) error {
	err := g.Sink.WriteToken(ctx, g.last)
	g.owed = err != nil
	return err
}

// Stale implements auth.Refresher: for a sink that does, and for one that could not be written when the gate opened.
func (g *gate) Stale() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.Sink.(auth.Refresher)
	return g.open && (g.owed || ok && r.Stale())
}

// pass opens the gate and hands on what waited. What fails is tried again by the session.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open = true; !g.owed {
		return nil
	}
	return g.write(ctx)
}
