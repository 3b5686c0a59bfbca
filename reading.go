package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/secret"
)

// reading is one renderer at work, with its view of the store.
type reading struct {
	renderer *envtemplate.Renderer
	watcher  *lease.Watcher
	life     *services
}

func (v *vaultSide) newReading(cfg *config.Config, w wanted, env environ.Environ) (*reading, error) {
	files, err := v.newDelivery(cfg, w, env)
	if err != nil {
		return nil, misconfigured{err}
	}
	r := &reading{watcher: v.store.Watch()}
	var source envtemplate.Source = &pace{r.watcher, cfg.Secrets.RefreshPaths}
	if cfg.Word == config.Render {
		v.lookout = &leaseLookout{Source: source, vault: v}
		source = v.lookout
	}
	if r.renderer, err = newRenderer(cfg, source, w, env, files, v.log); err != nil {
		r.watcher.Close()
		return nil, misconfigured{err}
	}
	return r, nil
}

// start renders as a group of s until end; a failure calls fail.
func (r *reading) start(s *services, fail context.CancelCauseFunc) {
	r.life = s.group(fail)
	r.life.start("renderer", func(ctx context.Context) error {
		if err := r.renderer.Run(ctx); err != nil {
			return misconfigured{err} // what heals by waiting it has waited for
		}
		return nil
	})
}

// end stops rendering and gives up what nobody else reads.
func (r *reading) end() {
	if r == nil {
		return
	}
	r.life.end()
	r.watcher.Close()
}

// tokenSlot is the sink through which the listeners get the session's tokens; a reload
// may put other listeners into it.
type tokenSlot struct {
	mu    sync.Mutex
	proxy *proxy.Proxy // nil = none
	last  secret.Token
}

// WriteToken implements auth.Sink.
func (t *tokenSlot) WriteToken(ctx context.Context, token secret.Token) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = token
	if t.proxy == nil {
		return nil
	}
	return t.proxy.WriteToken(ctx, token)
}

// put makes p the one that gets the tokens, the last one at once.
func (t *tokenSlot) put(ctx context.Context, p *proxy.Proxy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proxy = p; p != nil && t.last.Epoch != 0 {
		_ = p.WriteToken(ctx, t.last) // it never fails
	}
}

// epoch is the oldest login the listeners' clients depend on, 0 if none.
func (t *tokenSlot) epoch() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proxy == nil {
		return 0
	}
	return t.proxy.Epoch()
}

// sockets are the listeners' own, for another vault side to take over.
func (v *vaultSide) sockets() []proxy.Shared {
	if v == nil || v.proxy == nil {
		return nil
	}
	shared, err := v.proxy.Share()
	if err != nil {
		v.log.Log(context.Background(), slog.LevelDebug, "sockets are opened anew", "error", err)
	}
	return shared
}
