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
	cfg     *config.Config
	log     *slog.Logger
	client  *api.Client
	front   *api.Client   // the listeners'
	session *auth.Session // nil: listeners only, for clients with tokens of their own
	store   *lease.Store  // nil without a session
	reading *reading      // nil: no secret is named; once started the conductor's, guarded by mu for others
	lookout *leaseLookout // only for render
	proxy   *proxy.Proxy  // nil: no listener
	tokens  tokenSlot     // gives the session's tokens to the proxy of the day
	sealed  *sealed.File  // nil: nothing is kept on disk
	drop    *drop         // nil: no value is delivered as a file
	// addresses are the listeners' own, as values for VAULT_ADDR; bearer is the
	// program's token for them, if it is to have one.
	addresses []string
	bearer    secret.Text
	delivered chan struct{} // closed when every sink has the first token
	revokes   bool          // the tokens logged in for are revoked at the end

	trial   bool      // made by a reload, which may not come to be
	gates   []*gate   // then: before the sinks
	life    *services // nil before start
	serving *services // the part of it that is the proxy

	quit    atomic.Pointer[context.CancelCauseFunc] // ends the job; nil before start
	mu      sync.Mutex
	needs   map[uint64]need // by generation
	settled uint64          // generation whose program is safely up
}

// newVaultSide returns nil when nothing is wanted from Vault: then there is no
// login and no network. old is the one it is to take the place of, nil for the first.
func newVaultSide(cfg *config.Config, env environ.Environ, log *slog.Logger, old *vaultSide) (*vaultSide, error) {
	wanted, err := wantedSecrets(cfg)
	if err != nil {
		return nil, misconfigured{err}
	}
	if !wanted.any() && len(cfg.Sinks) == 0 && len(cfg.Listeners) == 0 {
		return nil, nil
	}
	v := &vaultSide{cfg: cfg, log: log, delivered: make(chan struct{}), needs: map[uint64]need{}}
	if err := v.build(wanted, env, old); err != nil {
		if v.proxy != nil {
			v.proxy.Close()
		}
		if v.sealed != nil {
			_ = v.sealed.Close()
		}
		if old == nil || v.drop != old.drop {
			v.drop.remove()
		}
		return nil, err
	}
	return v, nil
}

func (v *vaultSide) build(wanted wanted, env environ.Environ, old *vaultSide) (err error) {
	if v.sealed, err = openSealed(v.cfg, env, v.log); err != nil {
		return misconfigured{err}
	}
	if v.client, err = newClient(v.cfg.Vault, env); err != nil {
		return misconfigured{err}
	}
	if v.front, err = v.clientFor(env, "caching", "proxying"); err != nil {
		return misconfigured{err}
	}
	if v.cfg.Login.Method != "" || wanted.any() || len(v.cfg.Sinks) > 0 {
		if v.store, err = v.newStore(env); err != nil {
			return misconfigured{err}
		}
	}
	if old != nil {
		v.bearer, v.trial = old.bearer, true
		if old.config().Program.User == v.cfg.Program.User {
			v.drop = old.drop
		}
	}
	if v.proxy, err = v.newProxy(v.cfg, old.sockets()); err != nil {
		return misconfigured{err}
	}
	if v.proxy != nil {
		v.addresses = v.proxy.Addresses()
		v.tokens.proxy = v.proxy
	}
	if v.store == nil {
		close(v.delivered) // there is no login to wait for
		return nil
	}
	if v.cfg.Login.WrapTTL > 0 && (wanted.any() || v.cfg.Login.ProgramToken) {
		return misconfigured{errors.New("auto_auth.method.wrap_ttl hands the token over wrapped, so envexec itself can read nothing with it: remove it, or let the reader of its sink read the secrets")}
	}
	if v.session, err = v.newSession(env); err != nil {
		return misconfigured{err}
	}
	if wanted.any() {
		v.reading, err = v.newReading(v.cfg, wanted, env)
	}
	return err
}

func (v *vaultSide) newStore(env environ.Environ) (*lease.Store, error) {
	client, err := v.clientFor(env, "templating")
	if err != nil {
		return nil, err
	}
	cfg := lease.Config{
		Client:           client,
		NoRedirects:      v.cfg.Vault.DisableRedirects,
		StaticInterval:   v.cfg.Secrets.Refresh,
		RenewalThreshold: v.cfg.Secrets.RenewalThreshold,
		MaxConcurrent:    v.cfg.Secrets.MaxConcurrent,
		OnInvalidToken:   v.invalid,
		Logger:           v.log,
	}
	v.shelve(&cfg)
	if !v.cfg.Start.Once {
		if cfg.Events, err = newEventsRoad(v.cfg.Vault, env); err != nil { //nolint:bodyclose // a function, not an answer
			return nil, err
		}
	}
	return lease.New(cfg)
}

func (v *vaultSide) newSession(env environ.Environ) (*auth.Session, error) {
	l := v.cfg.Login
	method, err := newMethod(l, v.cfg.Vault, env, v.log)
	if err != nil {
		return nil, err
	}
	client, err := v.clientFor(env, "auto-auth")
	if err != nil {
		return nil, err
	}
	var sinks []auth.Sink
	if l.WrapTTL == 0 { // what is wrapped is of no use to ourselves
		sinks = append(sinks, v.store, &v.tokens)
	}
	for _, s := range v.cfg.Sinks {
		file, err := v.newSink(s)
		if err != nil {
			return nil, fmt.Errorf("%s: sink: %w", s.Pos, err)
		}
		if v.trial {
			g := &gate{Sink: file}
			v.gates, file = append(v.gates, g), g
		}
		sinks = append(sinks, file)
	}
	handedOut := l.ProgramToken || len(v.cfg.Sinks) > 0
	agent := len(v.cfg.Program.Args) == 0 && v.cfg.Word != config.Render
	// A token someone else may be using lives on.
	v.revokes = l.Revoke && !handedOut && !agent && !v.cfg.Start.ExitAfterAuth
	var once sync.Once
	cfg := auth.Config{
		Client:     client,
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

func newMethod(l config.Login, server config.Vault, env environ.Environ, log *slog.Logger) (auth.Method, error) {
	settings := l.Settings
	name := l.Method
	switch {
	case name == "" && env.Keep("VAULT_SECRET_ID*", "APPROLE_SECRET_ID*").Len() > 0:
		return nil, errors.New("no way to log in to Vault: there is a secret id but no role id: set VAULT_ROLE_ID")
	case name == "":
		return nil, errors.New("no way to log in to Vault: set VAULT_TOKEN, or VAULT_ROLE_ID with VAULT_SECRET_ID, or use --auth or auto_auth")
	case name == "token" && l.TokenFile != "":
		name, settings = "token_file", map[string]any{"token_file_path": l.TokenFile}
	case name == "token":
		settings = map[string]any{"token": l.Token}
	}
	get := func(name string) string { value, _ := env.Get(name); return value }
	return methods.New(name, settings, methods.Options{MountPath: l.MountPath, Env: get, Logger: log, TLS: tlsFiles{v: server}.config})
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

// start runs the services as a group of s; one that fails for good calls fail.
func (v *vaultSide) start(s *services, fail context.CancelCauseFunc) {
	v.life = s.group(fail)
	if v.proxy != nil {
		v.quit.Store(&s.fail)
		v.serve()
	}
	if v.session == nil {
		return
	}
	if v.sealed != nil {
		v.life.start("sealed cache", v.sealed.Run)
	}
	v.life.start("lease store", v.store.Run)
	v.life.start("session", v.session.Run)
	if v.reading != nil {
		v.reading.start(v.life, fail)
	}
}

// serve runs the proxy.
func (v *vaultSide) serve() {
	v.serving = v.life.group(v.life.fail)
	v.serving.start("listeners", v.proxy.Run)
}

// known waits until generations are worth something: every sink has the token, so that
// a program may count on its file from the start, or Vault is away and there is a sealed cache.
func (v *vaultSide) known(ctx context.Context) error {
	if v == nil {
		return nil
	}
	select {
	case <-v.delivered:
	case <-v.fallenBack():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// generations is where the renderer's come from, nil when there is none.
func (v *vaultSide) generations() <-chan envtemplate.Generation {
	if v == nil || v.reading == nil {
		return nil
	}
	return v.reading.renderer.Generations()
}

// flush returns once what the store has told of is rendered.
func (v *vaultSide) flush(ctx context.Context) {
	v.mu.Lock()
	reading := v.reading
	v.mu.Unlock()
	if reading != nil {
		reading.renderer.Flush(ctx)
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
	if v == nil {
		return 0, false
	}
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
	if v == nil {
		return
	}
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
	if v == nil {
		return
	}
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
	if held := v.tokens.epoch(); held != 0 {
		epoch = min(epoch, held)
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
	return fmt.Sprintf("%s, login %d at %s", v.config().Login.Method, t.Epoch, t.At.Format(time.RFC3339))
}

// unreachable explains why nothing was rendered in time.
func (v *vaultSide) unreachable(after time.Duration) error {
	if v.session == nil {
		return fmt.Errorf("%w within %s at %s", errUnreachable, after, v.cfg.Vault.Address)
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
	return fmt.Errorf("%w within %s at %s: %w", errUnreachable, after, v.cfg.Vault.Address, cause)
}

func (v *vaultSide) config() *config.Config {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cfg
}

// close ends the services and revokes what was logged in for.
func (v *vaultSide) close() {
	if v.life != nil {
		v.life.end()
	}
	if v.life == nil && v.proxy != nil {
		v.proxy.Close()
	}
	v.drop.remove()
	v.revoke(context.Background())
}

// revoke ends the tokens envexec logged in for, after everybody has stopped using them.
func (v *vaultSide) revoke(ctx context.Context) {
	if v == nil || v.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, revokePatience)
	defer cancel()
	token, ok := v.session.Token()
	err := v.session.Close(ctx)
	if err != nil {
		v.log.Warn("the token stays alive until its TTL ends", "error", err)
	}
	v.closeSealed(err == nil && ok && token.Own && v.revokes)
}

// adopt puts the parts that a reload made new in the place of the old ones.
func (v *vaultSide) adopt(ctx context.Context, ch *change) {
	v.mu.Lock()
	v.cfg = ch.cfg
	v.mu.Unlock()
	if v.store != nil {
		v.store.SetIntervals(ch.cfg.Secrets.Refresh, ch.cfg.Secrets.RenewalThreshold)
	}
	if ch.reading != nil || !ch.wanted.any() {
		old := v.reading
		v.mu.Lock()
		v.reading = ch.reading
		v.mu.Unlock()
		old.end()
	}
	if !ch.relisten {
		return
	}
	old, serving := v.proxy, v.serving
	v.proxy, v.addresses = ch.listeners, nil
	if v.proxy != nil {
		v.addresses = v.proxy.Addresses()
	}
	v.tokens.put(ctx, v.proxy)
	handOver(old, serving, ch.cfg)
	if v.proxy != nil {
		v.serve()
	}
}

// passTokens gives the sinks what they missed while v was on trial.
func (v *vaultSide) passTokens(ctx context.Context) {
	if v == nil {
		return
	}
	for _, g := range v.gates {
		if err := g.pass(ctx); err != nil {
			v.log.Error("a sink does not have the new token", "error", err)
		}
	}
}

// takeOver lets v go on where old was: what it has bound, and how far the program is.
func (v *vaultSide) takeOver(old *vaultSide) {
	handOver(old.proxy, old.serving, v.cfg)
	if old.drop == v.drop {
		old.drop = nil // it lives on
	}
	old.mu.Lock()
	settled := old.settled
	old.mu.Unlock()
	v.mu.Lock()
	v.settled = settled
	v.mu.Unlock()
}

// handOver ends an old proxy, whose requests may finish, but leaves the sockets that next has too.
func handOver(old *proxy.Proxy, serving *services, next *config.Config) {
	if old == nil || serving == nil {
		return
	}
	for _, l := range next.Listeners {
		old.Leave(l.Address)
	}
	serving.cancel()
}
