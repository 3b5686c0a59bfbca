package envtemplate

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/internal/fault"
	"github.com/envexec/envexec/secret"
)

// Renderer turns a Config into Generations. Create it with New and Run it once.
type Renderer struct {
	cfg    Config
	log    *slog.Logger
	units  []*unit
	writer *writer
	gens   chan Generation

	flushes chan *flush
	ended   chan struct{} // closed when Run returns
	busy    sync.Map      // names of the units that run

	recalled atomic.Pointer[reads] // Run's
}

// New checks cfg and parses every reference and template; all problems are joined.
func New(cfg Config) (*Renderer, error) {
	cfg.complete()
	r := &Renderer{
		cfg: cfg, log: cfg.Logger,
		gens: make(chan Generation, 1), writer: newWriter(cfg),
		flushes: make(chan *flush), ended: make(chan struct{}),
	}
	b := builder{cfg: &r.cfg, known: map[string]bool{printFunc: true}}
	units, err := b.build()
	if err != nil {
		return nil, err
	}
	r.units = units
	return r, nil
}

// Generations has one slot: an unread Generation is replaced by a newer one.
func (r *Renderer) Generations() <-chan Generation { return r.gens }

// Requests lists what is known before anything runs: what references, flags and files
// name, and what templates always read with literal arguments. Each once, by Key.
func (r *Renderer) Requests() []secret.Request {
	known := map[secret.Key]secret.Request{}
	for _, u := range r.units {
		for _, req := range u.requests {
			known[req.Key()] = req
		}
	}
	list := make([]secret.Request, 0, len(known))
	for _, key := range slices.Sorted(maps.Keys(known)) {
		list = append(list, known[key])
	}
	return list
}

// Run renders until ctx ends and then returns nil. Before the first Generation it
// returns, joined, the problems that do not heal by waiting; they are the
// configuration's, or a secret is missing or forbidden. A template that only computes
// cannot be stopped: it is left behind when ctx has ended.
func (r *Renderer) Run(ctx context.Context) error {
	defer close(r.ended)
	done := make(chan error, 1)
	go func() { done <- fault.Try(func() error { return r.render(ctx) }) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(leavePatience):
		var names []string
		r.busy.Range(func(name, _ any) bool { names = append(names, name.(string)); return true })
		slices.Sort(names)
		r.log.Warn("still computing at the end, left behind", "units", names)
		return nil
	}
}

// leavePatience is how long the end waits for what is being rendered.
const leavePatience = time.Second

func (r *Renderer) render(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{
		Renderer: r, ctx: ctx,
		reads:    newReads(ctx, r.cfg.Source),
		recall:   newRecall(&r.cfg, r.units),
		finished: make(chan finish),
		planned:  map[*unit]struct{}{},
		engines:  make(chan struct{}, max(runtime.GOMAXPROCS(0), 2)),
	}
	r.recalled.Store(l.reads)
	defer l.reads.flying.Wait()
	defer l.running.Wait()
	defer cancel()
	return l.run()
}
