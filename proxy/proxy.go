package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/lease/shared"
	"github.com/envexec/envexec/secret"
)

// Proxy answers Vault clients. It is safe for concurrent use.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	upstream *upstream
	upgrader *httputil.ReverseProxy
	session  session
	states   states
	cache    *shared.Cache // nil = none
	stats    counters
	buffers  buffers
	quit     func()
	upgraded sync.WaitGroup // handlers that left their server
	draining atomic.Bool    // the end has begun

	mu    sync.Mutex
	doors []*door // bound listeners
	bound []*bound
	tls   []*certificates
}

// New checks cfg; all problems are joined. It opens nothing.
func New(cfg Config) (*Proxy, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure proxy: %w", err)
	}
	p := &Proxy{cfg: cfg, log: cfg.Logger, states: states{mode: cfg.Inconsistent}}
	p.session.first = make(chan struct{})
	if p.upstream, err = newUpstream(&p.cfg); err != nil {
		return nil, fmt.Errorf("configure proxy: %w", err)
	}
	p.cfg.MetricsPrefix = cmp.Or(cfg.MetricsPrefix, "envexec")
	p.quit = sync.OnceFunc(func() {
		if cfg.OnQuit != nil {
			cfg.OnQuit()
		}
	})
	if cfg.Cache != nil {
		if p.cache, err = p.newCache(); err != nil {
			return nil, fmt.Errorf("configure proxy: %w", err)
		}
	}
	p.upgrader = p.newUpgrader()
	return p, nil
}

// WriteToken hands over the session's newest token. It never fails.
func (p *Proxy) WriteToken(_ context.Context, t secret.Token) error {
	p.session.set(t)
	return nil
}

// Run serves until ctx ends, then lets running requests finish for Config.Drain.
// It calls Bind unless that is done. The error is the first listener's that broke.
func (p *Proxy) Run(ctx context.Context) error {
	if err := p.Bind(); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	p.mu.Lock()
	doors := p.doors
	p.doors = nil
	p.mu.Unlock()
	var all sync.WaitGroup
	for _, d := range doors {
		d.server.BaseContext = func(net.Listener) context.Context { return base }
		all.Go(func() {
			if err := d.serve(); !errors.Is(err, http.ErrServerClosed) {
				stop(fmt.Errorf("serve %s: %w", d.listener.Address, err))
			}
		})
	}
	if p.cache != nil {
		all.Go(func() { _ = p.cache.Run(ctx) })
	}
	<-ctx.Done()
	p.drain(base, doors)
	cut()
	all.Wait()
	p.upgraded.Wait()
	p.upstream.close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// linger is how long connections that were open when another proxy took the sockets over
// may go on: from its Shutdown on net/http drops a request it has just read.
const linger = time.Second

// drain closes the listeners, waits for what runs, then closes what is left.
func (p *Proxy) drain(ctx context.Context, doors []*door) {
	p.draining.Store(true)
	if p.handedOver() {
		<-time.After(linger)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	var all sync.WaitGroup
	for _, d := range doors {
		all.Go(func() {
			if d.server.Shutdown(ctx) != nil {
				_ = d.server.Close()
			}
			d.remove()
		})
	}
	all.Wait()
}

// serve answers one request that passed the guard; body as of gate.body.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, body io.Reader, l *Listener) {
	p.stats.requests.Add(1)
	c, err := p.identify(r, l)
	if err == nil && p.fromCache(w, r, c) {
		return
	}
	if err == nil {
		err = c.keepBody(body, r.ContentLength)
	}
	if err == nil {
		err = p.guardSelf(r, c)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if len(r.Header["Upgrade"]) > 0 {
		p.upgraded.Add(1)
		defer p.upgraded.Done()
	}
	p.throughCache(w, r, c)
}
