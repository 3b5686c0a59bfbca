package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/internal/foreign"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/lease/sealed"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/secret"
)

// vaultSide is everything that talks to Vault, wired together: the session gives
// its tokens to the store, the renderer reads from the store.
type vaultSide struct {
	cfg     *config.Config
	env     environ.Environ // envexec's own
	log     *slog.Logger
	client  *api.Client
	own     []*api.Client // made by clientFor
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
	sinks     []auth.Sink   // as cfg.Sinks
	delivered chan struct{} // closed when every sink has the first token
	revokes   bool          // the tokens logged in for are revoked at the end
	doubted   atomic.Bool   // the address was said to be doubtful

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
	v := &vaultSide{cfg: cfg, env: env, log: log, delivered: make(chan struct{}), needs: map[uint64]need{}}
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
	if v.proxy, err = v.newProxy(v.cfg, env, old.sockets()); err != nil {
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
		CertMinRemaining: v.cfg.Secrets.CertMinRemaining,
		MaxConcurrent:    v.cfg.Secrets.MaxConcurrent,
		OnInvalidToken:   v.invalid,
		OnUse:            v.used,
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

// invalid says that Vault no longer knows a token: log in again.
func (v *vaultSide) invalid(t secret.Token) {
	if v.session != nil {
		v.session.Invalid(t)
	}
}

// used says that Vault answered a request made with a token.
func (v *vaultSide) used(t secret.Token, status int) {
	if v.session != nil {
		v.session.Used(t, status)
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
	run := v.proxy.Run
	v.serving.start("listeners", func(ctx context.Context) error {
		fitProcessors(v.log)
		room := roomForGarbage(v.env)
		defer runtime.KeepAlive(room)
		return run(ctx)
	})
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
		return fmt.Errorf("%w within %s at %s", errUnreachable, after, v.address())
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
	if method.BeforeVault(cause) {
		return fmt.Errorf("%w within %s: %w", errNoLogin, after, cause)
	}
	return fmt.Errorf("%w within %s at %s: %w", errUnreachable, after, v.address(), cause)
}

// secretStates are the store's and those of certificates that were found in files again, by name.
func (v *vaultSide) secretStates() []lease.EntryStatus {
	all := v.store.Status()
	v.mu.Lock()
	reading := v.reading
	v.mu.Unlock()
	if reading == nil {
		return all
	}
	for _, c := range reading.renderer.Recalled() {
		all = append(all, lease.EntryStatus{
			Request: c.Request.String(), Schedule: "found in files, replaced before its end", Known: true, Restored: true,
			Age: max(c.Age, 0), NextIn: max(c.NextIn, 0), EndsIn: max(c.EndsIn, time.Nanosecond),
		})
	}
	slices.SortStableFunc(all, func(a, b lease.EntryStatus) int { return cmp.Compare(a.Request, b.Request) })
	return all
}

// address is Vault's, without a password, and where it came from.
func (v *vaultSide) address() string {
	text := "?"
	if u, err := url.Parse(v.cfg.Vault.Address); err == nil {
		text = u.Redacted()
	}
	return fmt.Sprintf("%s (%s)", text, cmp.Or(v.cfg.AddressFrom, "the default: VAULT_ADDR is not set"))
}

// doubtAddress says once where the address came from when what answers there is not Vault.
func (v *vaultSide) doubtAddress(err error) {
	var not *foreign.Answer
	if !errors.As(err, &not) || not.Gateway() || !v.doubted.CompareAndSwap(false, true) {
		return
	}
	v.log.Warn("this may be the wrong address: it must lead to Vault's API", "address", v.address())
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
	for _, c := range append(v.own, v.client) {
		c.CloneConfig().HttpClient.CloseIdleConnections() // else they stay open for IdleConnTimeout
	}
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
		s := ch.cfg.Secrets
		v.store.SetIntervals(s.Refresh, s.RenewalThreshold, s.CertMinRemaining)
	}
	if ch.reading != nil || !ch.wanted.any() {
		old := v.reading
		v.mu.Lock()
		v.reading = ch.reading
		v.mu.Unlock()
		old.end()
	}
	if ch.resink {
		v.replaceSinks(ctx, ch.sinks)
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
	old.GiveUp()
}
