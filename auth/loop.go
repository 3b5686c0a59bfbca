package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/secret"
)

// loop is the state of one Run; only its goroutine touches it.
type loop struct {
	*Session
	ctx         context.Context
	work        *sync.WaitGroup
	fresh       chan secret.Token // one slot, newest wins; read by deliver
	credentials method.Credentials
	changes     <-chan string // fingerprints, from watch

	kept  *kept // of the last start, until it was looked up
	own   bool  // the token looked up is ours: it was kept
	epoch uint64
	fatal error
	late  []func(*loop) // results that came when the loop had ended; guarded by mu

	// the login that is due or under way
	want     string        // why; "" = none is due
	busy     bool          // a login request is in flight
	next     time.Duration // not before
	failures int           // logins failed in a row
	young    int           // tokens in a row that were invalid or spent soon after their login
	born     time.Duration // when the last login succeeded
	tried    string        // fingerprint at the last attempt
	refused  bool          // the last attempt was denied
	missed   string        // fingerprint that came while it was in flight
}

func (l *loop) run() error {
	l.want, l.kept = "start", l.recall()
	timer := time.NewTimer(clock.MaxSleep)
	defer timer.Stop()
	for l.ctx.Err() == nil {
		l.hear()
		l.act()
		timer.Reset(l.sleep())
		select {
		case <-l.ctx.Done():
			return nil
		case apply := <-l.results:
			apply(l)
		case print := <-l.changes:
			l.changed(print)
		case <-l.wake:
		case <-timer.C:
		}
		if l.fatal != nil {
			return l.fatal
		}
	}
	return nil
}

// begin runs a request beside the loop; apply is called by the loop with its result.
func (l *loop) begin(request func(ctx context.Context) (apply func(*loop))) {
	l.work.Go(func() {
		apply := request(l.ctx)
		select {
		case l.results <- apply:
		case <-l.ctx.Done(): // Run applies it: a login that just succeeded must be known to Close
			l.mu.Lock()
			l.late = append(l.late, apply)
			l.mu.Unlock()
		}
	})
}

// hear takes in what others reported.
func (l *loop) hear() {
	invalid, retire := l.drain()
	if cur := l.current(); cur != nil && !cur.spent && l.usedUp(cur) {
		l.spend(cur)
	}
	for _, t := range invalid {
		if cur := l.current(); cur != nil && cur.token.ID.Equal(t.ID) && !cur.dead {
			l.lost(cur)
			continue
		}
		l.mu.Lock()
		for _, o := range l.lives {
			o.dead = o.dead || o.token.ID.Equal(t.ID)
		}
		l.mu.Unlock()
	}
	if retire > 0 {
		for _, o := range slices.Clone(l.lives) {
			if o != l.current() && o.token.Epoch < retire {
				l.retireLife(o)
			}
		}
	}
}

// lost: the current token is dead, log in again. One that died young waits its turn,
// and a denied login is no sooner repeated for it.
func (l *loop) lost(cur *life) {
	l.mark(cur)
	if cur.spent { // a login is due or under way
		return
	}
	l.cfg.Logger.Warn("token is no longer valid, logging in again", "epoch", cur.token.Epoch)
	l.want = "token invalid"
	switch {
	case l.refused:
	case l.cfg.now()-l.born >= quickDeath:
		l.next, l.young = 0, 0
	default:
		l.young++
		l.next = l.cfg.now() + jitter(l.cfg.random(), l.cfg.MinBackoff, l.cfg.MaxBackoff, l.young)
	}
}

func (l *loop) usedUp(o *life) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return o.token.NumUses > 0 && o.used >= o.token.NumUses
}

// spend: the current token's last use is gone, log in again. That is no failure, but a login
// whose leases are read with nothing but the last uses would go round for ever: many in
// a row wait their turn.
func (l *loop) spend(cur *life) {
	cur.spent = true
	if l.refused || l.failures > 0 || l.busy {
		return // that login's turn comes as it would
	}
	l.cfg.Logger.Info("token's last use is spent, logging in again", "epoch", cur.token.Epoch)
	l.want, l.next = "token spent", 0
	if l.cfg.now()-l.born >= quickDeath {
		l.young = 0
		return
	}
	if l.young++; l.young > spentAtOnce {
		l.next = l.cfg.now() + jitter(l.cfg.random(), l.cfg.MinBackoff, l.cfg.StartBackoff, l.young-spentAtOnce)
	}
}

func (l *loop) mark(o *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o.dead, o.renewAt, o.replaceAt = true, 0, 0
}

func (l *loop) retireLife(o *life) {
	l.forget(o)
	if !l.revokes() || !o.revocable(l.cfg.now()) {
		return
	}
	t := o.token
	l.begin(func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, 2*l.cfg.RequestTimeout)
		defer cancel()
		err := l.revokeUntil(ctx, t)
		return func(l *loop) {
			switch {
			case err == nil:
			case l.ctx.Err() == nil && judge(err) == denied: // by its policy: it ends by itself
				l.cfg.Logger.Debug("old token may not revoke itself", "epoch", t.Epoch, "error", Describe(err))
			case l.ctx.Err() == nil:
				l.cfg.Logger.Warn("old token was not revoked", "epoch", t.Epoch, "error", Describe(err))
			default: // cut short by the end: Close tries again
				l.mu.Lock()
				l.lives = append([]*life{o}, l.lives...)
				l.mu.Unlock()
			}
		}
	})
}

// current is the newest token; nil before the first login.
func (l *loop) current() *life {
	if len(l.lives) == 0 {
		return nil
	}
	return l.lives[len(l.lives)-1]
}

// changed: the credentials are not what they were.
func (l *loop) changed(print string) {
	if print == "" || print == l.tried {
		return
	}
	if l.busy {
		l.missed = print
	}
	follow, ok := l.cfg.Method.(interface{ Follow() bool })
	switch {
	case l.refused:
		l.cfg.Logger.Info("credentials changed, logging in")
		l.refused, l.next = false, 0
	case l.current() != nil && l.want == "" && (l.cfg.Reauth || ok && follow.Follow()):
		l.want = "new credentials"
	}
}

// act starts everything that is due.
func (l *loop) act() {
	now := l.cfg.now()
	for _, o := range slices.Clone(l.lives) {
		if o.end > 0 && now >= o.end && !o.dead {
			l.ended(o)
		}
		if o.renewAt > 0 && now >= o.renewAt && !o.busy && !o.dead {
			l.renew(o)
		}
		if o != l.current() && o.reclaimAt > 0 && now >= o.reclaimAt && !o.dead {
			l.reclaim(o)
		}
	}
	if cur := l.current(); cur != nil && l.want == "" && cur.replaceAt > 0 && now >= cur.replaceAt {
		if !cur.wrapping.Empty() {
			l.whetherRead(cur)
		} else {
			l.want, l.next = "token ends", 0
		}
	}
	if l.want != "" && !l.busy && now >= l.next {
		l.login()
	}
}

// ended: nothing can save o any more.
func (l *loop) ended(o *life) {
	l.mark(o)
	if o != l.current() {
		l.forget(o)
		return
	}
	l.cfg.Logger.Error("token has ended before a new login succeeded", "epoch", o.token.Epoch)
	if l.want == "" {
		l.want, l.next = "token ended", 0
	}
}

// sleep is the time to the next thing due, at most clock.MaxSleep.
func (l *loop) sleep() time.Duration {
	now := l.cfg.now()
	at := now + clock.MaxSleep
	see := func(t time.Duration) {
		if t > 0 {
			at = min(at, t)
		}
	}
	for _, o := range l.lives {
		if o.dead {
			continue
		}
		see(o.end)
		if !o.busy {
			see(o.renewAt)
		}
		if o != l.current() {
			see(o.reclaimAt)
		} else if l.want == "" {
			see(o.replaceAt)
		}
	}
	if l.want != "" && !l.busy {
		at = min(at, l.next)
	}
	return max(0, at-now)
}

func (l *loop) backoff() time.Duration {
	most := l.cfg.MaxBackoff
	if l.epoch == 0 {
		most = l.cfg.StartBackoff
	}
	return jitter(l.cfg.random(), l.cfg.MinBackoff, most, l.failures)
}

// renew makes o live longer.
func (l *loop) renew(o *life) {
	o.busy = true
	t := o.token
	l.begin(func(ctx context.Context) func(*loop) {
		s, err := l.call(ctx, t, "auth/token/renew-self")
		if err == nil && (s == nil || s.Auth == nil) {
			err = errors.New("the answer holds no token")
		}
		return func(l *loop) { l.renewDone(o, s, err) }
	})
}

func (l *loop) renewDone(o *life, s *api.Secret, err error) {
	now := l.cfg.now()
	l.mu.Lock()
	o.busy = false
	switch v := judge(err); {
	case o.dead:
	case pastMaximum(err): // Vault ends it any moment
		o.fix()
		o.replaceAt = now
	case err == nil:
		o.renewed(seconds(s.Auth.LeaseDuration), s.Auth.Renewable, now, l.cfg.random())
	case v == transient:
		o.failures++
		o.renewAt = now + jitter(l.cfg.random(), l.cfg.MinBackoff, max(l.cfg.MinBackoff, (o.end-now)/10), o.failures)
	case v == denied:
		o.fix()
	}
	dead := o.dead
	l.mu.Unlock()
	if l.cfg.Trace.OnRenew != nil {
		l.cfg.Trace.OnRenew(o.token, err)
	}
	switch v := judge(err); {
	case dead:
	case err == nil:
		l.cfg.Logger.Debug("token renewed", "epoch", o.token.Epoch, "ttl", o.token.TTL)
		if l.want == "token ends" && !l.busy && o == l.current() && !o.fixed { // it lives on after all
			l.want = ""
		}
	case v == badToken && o == l.current():
		l.lost(o)
	case v == badToken:
		l.mark(o)
	case v == denied:
		l.cfg.Logger.Info("token cannot be renewed, it will be replaced before its end", "epoch", o.token.Epoch, "error", Describe(err))
	default:
		l.cfg.Logger.Warn("token renewal failed", "epoch", o.token.Epoch, "error", Describe(err), "retry_in", max(o.renewAt-now, 0).Round(time.Millisecond))
	}
}

// problem is what a failed login is reported as.
func (l *loop) problem(err error) error {
	if judge(err) == transient {
		return failure{err}
	}
	status := 0
	var re *api.ResponseError
	if errors.As(err, &re) {
		status = re.StatusCode
	}
	return &DeniedError{MountPath: l.cfg.MountPath, Status: status, Err: err}
}

var errNoToken = fmt.Errorf("the answer holds no token")
