package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	methods "github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/auth/sink"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/lease/sealed"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/secret"
)

// vaultSide is everything that talks to Vault, wired together: the session gives
// its tokens to the store, the renderer reads from the store.
type vaultSide struct {
	cfg      *config.Config
	log      *slog.Logger
	client   *api.Client
	session  *auth.Session         // nil: listeners only, for clients with tokens of their own
	store    *lease.Store          // nil without a session
	renderer *envtemplate.Renderer // nil: no secret is named
	lookout  *leaseLookout         // only for render
	proxy    *proxy.Proxy          // nil: no listener
	sealed   *sealed.File          // nil: nothing is kept on disk
	drop     *drop                 // nil: no value is delivered as a file
	// addresses are the listeners' own, as values for VAULT_ADDR; bearer is the
	// program's token for them, if it is to have one.
	addresses []string
	bearer    secret.Text
	// references are the inherited variables whose value is a reference.
	references []string
	delivered  chan struct{} // closed when every sink has the first token
	revokes    bool          // the tokens logged in for are revoked at the end

	quit    atomic.Pointer[context.CancelCauseFunc] // ends the job; nil before start
	mu      sync.Mutex
	needs   map[uint64]need // by generation
	settled uint64          // generation whose program is safely up
}

// newVaultSide returns nil when nothing is wanted from Vault: then there is no
// login and no network.
func newVaultSide(cfg *config.Config, env environ.Environ, log *slog.Logger) (*vaultSide, error) {
	wanted, err := wantedSecrets(cfg)
	if err != nil {
		return nil, misconfigured{err}
	}
	if !wanted.any() && len(cfg.Sinks) == 0 && len(cfg.Listeners) == 0 {
		return nil, nil
	}
	v := &vaultSide{cfg: cfg, log: log, references: wanted.references, delivered: make(chan struct{}), needs: map[uint64]need{}}
	if v.sealed, err = openSealed(cfg, env, log); err != nil {
		return nil, misconfigured{err}
	}
	if v.client, err = newClient(cfg.Vault, env); err != nil {
		return nil, misconfigured{err}
	}
	if cfg.Login.Method != "" || wanted.any() || len(cfg.Sinks) > 0 {
		if v.store, err = v.newStore(env); err != nil {
			return nil, misconfigured{err}
		}
	}
	if v.proxy, v.bearer, err = v.newProxy(v.store != nil); err != nil {
		return nil, misconfigured{err}
	}
	if v.proxy != nil {
		v.addresses = v.proxy.Addresses()
	}
	if v.store == nil {
		close(v.delivered) // there is no login to wait for
		return v, nil
	}
	if v.session, err = v.newSession(env); err != nil {
		return nil, misconfigured{err}
	}
	if wanted.any() {
		files, err := v.newDelivery(wanted, env)
		if err != nil {
			return nil, misconfigured{err}
		}
		if v.renderer, err = v.newRenderer(wanted, env, files); err != nil {
			v.drop.remove()
			return nil, misconfigured{err}
		}
	}
	return v, nil
}

func (v *vaultSide) newStore(env environ.Environ) (*lease.Store, error) {
	cfg := lease.Config{
		Client:           v.client,
		StaticInterval:   v.cfg.Secrets.Refresh,
		RenewalThreshold: v.cfg.Secrets.RenewalThreshold,
		MaxConcurrent:    v.cfg.Secrets.MaxConcurrent,
		OnInvalidToken:   v.invalid,
		Logger:           v.log,
	}
	v.shelve(&cfg)
	if !v.cfg.Start.Once {
		var err error
		if cfg.Events, err = newEventsRoad(v.cfg.Vault, env); err != nil {
			return nil, err
		}
	}
	return lease.New(cfg)
}

func (v *vaultSide) newSession(env environ.Environ) (*auth.Session, error) {
	l := v.cfg.Login
	method, err := newMethod(l, env, v.log)
	if err != nil {
		return nil, err
	}
	sinks := []auth.Sink{v.store}
	if v.proxy != nil {
		sinks = append(sinks, v.proxy)
	}
	for _, s := range v.cfg.Sinks {
		file, err := v.newSink(s)
		if err != nil {
			return nil, fmt.Errorf("%s: sink: %w", s.Pos, err)
		}
		sinks = append(sinks, file)
	}
	handedOut := l.ProgramToken || len(v.cfg.Sinks) > 0
	agent := len(v.cfg.Program.Args) == 0 && v.cfg.Word != config.Render
	// A token someone else may be using lives on.
	v.revokes = l.Revoke && !handedOut && !agent && !v.cfg.Start.ExitAfterAuth
	var once sync.Once
	cfg := auth.Config{
		Client:     v.client,
		Method:     method,
		MountPath:  l.MountPath,
		Namespace:  l.Namespace,
		MinBackoff: l.MinBackoff,
		MaxBackoff: l.MaxBackoff,
		ExitOnErr:  exitRule(l.ExitOnErr),
		Reauth:     l.ReauthOnNew,
		WrapTTL:    l.WrapTTL,
		Revoke:     v.revokes,
		Sinks:      sinks,
		Logger:     v.log,
		Trace: auth.Trace{
			OnDelivered: func(uint64) { once.Do(func() { close(v.delivered) }) },
			OnFailure:   v.loginFailed,
		},
	}
	v.keepLogin(&cfg)
	return auth.New(cfg)
}

func exitRule(c config.Choice) auth.Exit {
	switch c {
	case config.Yes:
		return auth.ExitAlways
	case config.No:
		return auth.ExitNever
	}
	return auth.ExitDenied
}

func newMethod(l config.Login, env environ.Environ, log *slog.Logger) (auth.Method, error) {
	settings := l.Settings
	name := l.Method
	switch {
	case name == "":
		return nil, errors.New("no way to log in to Vault: set VAULT_TOKEN, or VAULT_ROLE_ID with VAULT_SECRET_ID, or use --auth or auto_auth")
	case name == "token" && l.TokenFile != "":
		name, settings = "token_file", map[string]any{"token_file_path": l.TokenFile}
	case name == "token":
		settings = map[string]any{"token": l.Token}
	}
	get := func(name string) string { value, _ := env.Get(name); return value }
	return methods.New(name, settings, methods.Options{MountPath: l.MountPath, Env: get, Logger: log})
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

// invalid says that Vault no longer knows a token: log in again.
func (v *vaultSide) invalid(t secret.Token) {
	if v.session != nil {
		v.session.Invalid(t)
	}
}

// references lists the inherited variables that are references.
func references(v *vaultSide) []string {
	if v == nil {
		return nil
	}
	return v.references
}

// start runs the services.
func (v *vaultSide) start(s *services) {
	if v.proxy != nil {
		v.quit.Store(&s.fail)
		s.start("listeners", v.proxy.Run)
	}
	if v.session == nil {
		return
	}
	if v.sealed != nil {
		s.start("sealed cache", v.sealed.Run)
	}
	s.start("lease store", v.store.Run)
	s.start("session", v.session.Run)
	if v.renderer != nil {
		s.start("renderer", func(ctx context.Context) error {
			if err := v.renderer.Run(ctx); err != nil {
				return misconfigured{err} // what heals by waiting it has waited for
			}
			return nil
		})
	}
}

// each calls f with every new generation until ctx ends or f fails. The first
// waits for the sinks: a program may count on the token's file from its start, unless
// Vault is away and it starts from the sealed cache.
// Without a secret named there is one, empty.
func (v *vaultSide) each(ctx context.Context, f func(envtemplate.Generation) error) error {
	select {
	case <-v.delivered:
	case <-v.fallenBack():
	case <-ctx.Done():
		return nil
	}
	if v.renderer == nil {
		return f(envtemplate.Generation{ID: 1})
	}
	var rendered, id, login uint64
	for {
		select {
		case g := <-v.renderer.Generations():
			// Where the program holds our token, a new login is a change like any other.
			newToken := v.cfg.Login.ProgramToken && g.Epoch != login
			same := g.ID == rendered && !newToken || id != 0 && v.cfg.Start.Once
			if g.ID == rendered && newToken {
				g.Changed = nil
			}
			if newToken && id != 0 {
				g.Changed = append(g.Changed, "VAULT_TOKEN")
			}
			rendered, login = g.ID, g.Epoch
			if !same {
				id++
			}
			g.ID = id
			v.remember(g)
			if same {
				continue
			}
			if err := f(g); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// need is what a generation's values depend on.
type need struct {
	epoch    uint64 // oldest login
	leases   []string
	notAfter time.Time // of its certificates; zero = none
}

// endsIn tells how long a generation's values still work; false = no end is known.
func (v *vaultSide) endsIn(id uint64) (left time.Duration, ends bool) {
	v.mu.Lock()
	n := v.needs[id]
	v.mu.Unlock()
	first := func(rest time.Duration, mortal bool) {
		if mortal && (!ends || rest < left) {
			left, ends = rest, true
		}
	}
	if len(n.leases) > 0 {
		first(v.store.EndsIn(n.leases...))
	}
	if len(n.leases) > 0 && n.epoch > 0 { // else they are the sealed cache's, from before any login
		first(v.session.EndsIn(n.epoch))
	}
	if !n.notAfter.IsZero() {
		first(max(time.Until(n.notAfter), 0), true)
	}
	return left, ends
}

// remember notes what a generation needs, and lets go of older logins at once when
// its program is up already: a new login that changed nothing.
func (v *vaultSide) remember(g envtemplate.Generation) {
	v.mu.Lock()
	v.needs[g.ID] = need{g.Epoch, g.Leases, g.NotAfter}
	up := v.settled == g.ID
	v.mu.Unlock()
	if up {
		v.retire(g.Epoch)
	}
}

// settle says that a generation's program is safely up: what only older ones
// needed may be revoked.
func (v *vaultSide) settle(id uint64) {
	v.mu.Lock()
	v.settled = id
	epoch := v.needs[id].epoch
	maps.DeleteFunc(v.needs, func(old uint64, _ need) bool { return old < id })
	v.mu.Unlock()
	v.retire(epoch)
}

// retire gives up the logins before epoch, but for those that leases of the
// listeners' clients still hang on.
func (v *vaultSide) retire(epoch uint64) {
	if v.session == nil {
		return
	}
	if v.proxy != nil {
		if held := v.proxy.Epoch(); held != 0 {
			epoch = min(epoch, held)
		}
	}
	v.store.Retire(epoch)
	v.session.Retire(epoch)
}

// leased counts the secrets that end with their login.
func (v *vaultSide) leased() (n int) {
	if v.store == nil {
		return 0
	}
	for _, e := range v.store.Status() {
		if e.Epoch != 0 {
			n++
		}
	}
	return n
}

// login says who we are to Vault and for how long, for `envexec status`.
func (v *vaultSide) login() string {
	if v.session == nil {
		return ""
	}
	t, ok := v.session.Token()
	if !ok {
		if err := v.session.LastError(); err != nil {
			return "none yet: " + err.Error()
		}
		return "none yet"
	}
	return fmt.Sprintf("%s, login %d at %s", v.cfg.Login.Method, t.Epoch, t.At.Format(time.RFC3339))
}

// unreachable explains why nothing was rendered in time.
func (v *vaultSide) unreachable(after time.Duration) error {
	if v.session == nil {
		return fmt.Errorf("%w within %s at %s", errUnreachable, after, v.client.Address())
	}
	cause := v.session.LastError()
	for _, e := range v.store.Status() {
		if cause == nil && e.Error != "" {
			cause = errors.New(e.Error)
		}
	}
	if cause == nil {
		cause = context.DeadlineExceeded
	}
	return fmt.Errorf("%w within %s at %s: %w", errUnreachable, after, v.client.Address(), cause)
}
