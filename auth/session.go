package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Session is one login kept alive. Make it with New.
type Session struct {
	cfg     Config
	client  *api.Client // ours, without token
	wake    chan struct{}
	results chan func(*loop) // what a finished request wants done, by the loop

	replacements chan *replacement // for deliver
	handedOut    atomic.Bool       // SetSinks gave our tokens to others

	mu      sync.Mutex
	lives   []*life // oldest first; fields belong to the loop while Run runs, guarded by mu
	lastErr error
	print   string         // fingerprint of the newest login's credentials
	invalid []secret.Token // reported by Invalid, not yet seen by the loop
	retire  uint64
}

// Run logs in and keeps the token alive. It returns nil when ctx has ended, and
// otherwise what cannot heal before the first login succeeded: a *DeniedError, or
// with ExitAlways any failure. No goroutine of it is left then. Call it once.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{Session: s, ctx: ctx, fresh: make(chan secret.Token, 1)}
	var work sync.WaitGroup
	l.work = &work
	defer func() {
		cancel()
		work.Wait()
		for _, apply := range l.late {
			apply(l)
		}
	}()
	work.Go(func() { s.deliver(ctx, l.fresh) })
	if c, ok := s.cfg.Method.(method.Credentials); ok {
		l.credentials = c
		changes := make(chan string)
		l.changes = changes
		work.Go(func() { s.watch(ctx, c, changes) })
	}
	return l.run()
}

// Invalid says that Vault called t an invalid token. The session logs in again,
// once, unless it already has. Safe for concurrent use, never blocks.
func (s *Session) Invalid(t secret.Token) {
	s.mu.Lock()
	s.invalid = append(s.invalid, t)
	s.mu.Unlock()
	s.poke()
}

// Used says that Vault answered a request made with t. When the last use of a token of
// few uses is spent, the session logs in again at once. Others' uses are not known here:
// see Invalid. Safe for concurrent use, never blocks.
func (s *Session) Used(t secret.Token, status int) {
	if !t.Own || t.NumUses == 0 || !spends(status) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lives {
		if l.token.ID.Equal(t.ID) {
			l.used++
		}
	}
	s.poke()
}

// spends reports whether an answer of this status has surely cost its token a use: redirects,
// quotas and servers in trouble answer before the token is looked at.
func spends(status int) bool {
	switch {
	case status >= 300 && status < 400, status >= 500, status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed:
		return false
	}
	return true
}

// Retire says that nobody depends any more on tokens of an epoch below before:
// those this session logged in for are revoked (with Config.Revoke), all are
// forgotten. The newest token always stays. Safe for concurrent use, never blocks.
func (s *Session) Retire(before uint64) {
	s.mu.Lock()
	s.retire = max(s.retire, before)
	s.mu.Unlock()
	s.poke()
}

func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// LastError returns why the last login failed; nil when it succeeded or none has ended yet.
func (s *Session) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// Token returns the newest token; ok is false before the first login.
func (s *Session) Token() (t secret.Token, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lives) == 0 {
		return t, false
	}
	return s.lives[len(s.lives)-1].token, true
}

// EndsIn tells how long the token of a login still lives, and with it the leases
// taken under it: 0 when it is dead or was given up; false when it has no end.
func (s *Session) EndsIn(epoch uint64) (left time.Duration, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lives {
		if l.token.Epoch != epoch {
			continue
		}
		switch {
		case l.dead:
			return 0, true
		case l.end == 0:
			return 0, false
		}
		return max(l.end-s.cfg.now(), 0), true
	}
	return 0, true
}

// Close revokes every live token this session logged in for, newest last, when
// Config.Revoke says so and no sink was added, but for what Config.Leave leaves; a transient failure is tried again until ctx ends. Call
// it after Run has returned. The error, for one warning, names what stays alive.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	lives := s.lives
	s.lives = nil
	s.mu.Unlock()
	if !s.revokes() {
		return nil
	}
	left := s.cfg.Leave && s.cfg.Keep != nil
	if left && len(lives) > 0 {
		lives = lives[:len(lives)-1]
	}
	var errs []error
	for _, l := range lives {
		if !l.revocable(s.cfg.now()) {
			continue
		}
		if err := s.revokeUntil(ctx, l.token); err != nil {
			errs = append(errs, fmt.Errorf("revoke the token of login %d: %s", l.token.Epoch, Describe(err)))
		}
	}
	if !left {
		errs = append(errs, s.forgetKept())
	}
	return errors.Join(errs...)
}

// revokes reports whether tokens are ours alone to end.
func (s *Session) revokes() bool { return s.cfg.Revoke && !s.handedOut.Load() }

func (s *Session) revokeUntil(ctx context.Context, t secret.Token) error {
	for try := 1; ; try++ {
		err := s.revoke(ctx, t)
		if err == nil || judge(err) != transient {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(jitter(s.cfg.random(), 200*time.Millisecond, 2*time.Second, try)):
		}
	}
}

// revoke ends t with its leases. A token Vault does not know is gone already.
func (s *Session) revoke(ctx context.Context, t secret.Token) error {
	_, err := s.call(ctx, t, "auth/token/revoke-self")
	if method.InvalidToken(err) {
		err = nil
	}
	if s.cfg.Trace.OnRevoke != nil {
		s.cfg.Trace.OnRevoke(t.Epoch, err)
	}
	return err
}

// call writes to path with t.
func (s *Session) call(ctx context.Context, t secret.Token, path string) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c := s.client.WithNamespace(t.Namespace)
	c.SetToken(t.ID.Reveal())
	return method.Send(ctx, c, http.MethodPut, path, map[string]any{})
}

// drain takes what Invalid and Retire left.
func (s *Session) drain() (invalid []secret.Token, retire uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	invalid, s.invalid = s.invalid, nil
	return invalid, s.retire
}

// forget drops l from the live tokens.
func (s *Session) forget(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives = slices.DeleteFunc(s.lives, func(o *life) bool { return o == l })
}

// jitter is full jitter: anything up to limit, which doubles from base with each
// failure up to most, but at least a tenth of it, so that a lucky draw is no hammer.
func jitter(random float64, base, most time.Duration, failures int) time.Duration {
	limit := base
	for i := 1; i < failures && limit < most; i++ {
		limit *= 2
	}
	limit = min(limit, most)
	return max(limit/10, part(limit, random))
}
