package auth

import (
	"context"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

// login starts one attempt.
func (l *loop) login() {
	if l.kept != nil {
		l.resume(l.kept)
		return
	}
	l.busy, l.missed = true, ""
	l.begin(func(ctx context.Context) func(*loop) {
		print := l.fingerprint(ctx) // before Login reads them: a change in between is seen as one
		ctx, cancel := l.lingering(ctx)
		defer cancel()
		s, err := l.cfg.Method.Login(ctx, l.client)
		changed := false
		if err != nil && l.credentials != nil {
			after, ferr := l.credentials.Fingerprint(ctx)
			changed = ferr == nil && after != "" && after != print
		}
		return func(l *loop) { l.loginDone(print, changed, s, err) }
	})
}

// lingering ends with RequestTimeout, or some time after the session does: a login
// cut off may have made a token that nobody would know to revoke.
func (l *loop) lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.RequestTimeout)
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(lastWord, cancel)
		context.AfterFunc(own, func() { timer.Stop() })
	})
	return own, func() { stop(); cancel() }
}

// lastWord is how long a login may take once the session ends.
const lastWord = time.Second

// fingerprint is that of the credentials now; "" when there are none or the method does not tell.
func (l *loop) fingerprint(ctx context.Context) string {
	if l.credentials == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout) // it may ask a service
	defer cancel()
	print, _ := l.credentials.Fingerprint(ctx)
	return print
}

func (l *loop) loginDone(print string, changed bool, s *api.Secret, err error) {
	l.busy = false
	if print != "" {
		l.tried = print
	}
	t, ok := tokenOf(s)
	if err == nil && !ok {
		err = errNoToken
	}
	if err != nil {
		l.loginFailed(err, changed)
		return
	}
	l.setError(nil)
	l.want, l.refused, l.next, l.failures = "", false, 0, 0
	if l.missed != "" && l.missed != l.tried { // is this login with the newest?
		l.begin(func(ctx context.Context) func(*loop) {
			print := l.fingerprint(ctx)
			return func(l *loop) { l.changed(print) }
		})
	}
	now := l.cfg.now()
	l.born = now
	t.Namespace = l.client.Namespace()
	resumed := l.own
	t.Own, l.own = t.Own || resumed, false
	wrapped := s.WrapInfo != nil
	if cur := l.current(); cur != nil && cur.token.ID.Equal(t.ID) && !wrapped {
		l.same(cur, t)
		return
	}
	l.epoch++
	t.Epoch = l.epoch
	o := newLife(t, now, l.cfg.random())
	if wrapped { // whoever unwraps it owns it
		t.Own = false
		o = newWrapped(t, s.WrapInfo, now, l.cfg.random())
	}
	l.mu.Lock()
	l.lives, l.print = append(l.lives, o), print
	l.mu.Unlock()
	select { // the slot holds the newest
	case <-l.fresh:
	default:
	}
	l.fresh <- t
	attrs := []any{"mount_path", l.cfg.MountPath, "epoch", t.Epoch, "accessor", t.Accessor, "policies", t.Policies, "ttl", t.TTL}
	if resumed {
		l.cfg.Logger.Info("using the token of the last start", attrs...)
	} else {
		l.cfg.Logger.Info("logged in", attrs...)
	}
	if l.cfg.Trace.OnLogin != nil {
		l.cfg.Trace.OnLogin(t)
	}
}

// same: a given token was looked up again. Nobody needs to hear of it.
func (l *loop) same(cur *life, t secret.Token) {
	now := l.cfg.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	cur.dead = false
	t.Epoch = cur.token.Epoch
	cur.token = t
	cur.plan(t.TTL, now, l.cfg.random())
	if t.TTL > 0 && !cur.warned && cur.fixed {
		cur.warned = true
		l.cfg.Logger.Warn("the given token cannot be renewed and will end", "epoch", t.Epoch, "ttl", t.TTL)
	}
}

// loginFailed plans the next attempt. changed: the credentials are not those of the failed one.
func (l *loop) loginFailed(err error, changed bool) {
	if l.ctx.Err() != nil {
		return
	}
	now, heals := l.cfg.now(), judge(err) == transient
	err, hint := l.problem(err), wait(err)
	l.setError(err)
	if l.epoch == 0 && (l.cfg.ExitOnErr == ExitAlways || l.cfg.ExitOnErr == ExitDenied && !heals) {
		l.fatal = err
		return
	}
	l.failures++
	pause := max(l.backoff(), hint)
	l.refused = !heals && !changed
	if l.refused {
		pause = l.cfg.DeniedInterval + part(time.Minute, l.cfg.random())
	}
	l.next = now + pause
	if retry := pause.Round(time.Millisecond); l.refused {
		l.cfg.Logger.Warn("login denied, waiting for changed credentials", "error", err, "retry_in", retry)
	} else {
		l.cfg.Logger.Warn("login failed", "error", err, "retry_in", retry)
	}
	if cur := l.current(); l.refused && cur != nil && !cur.dead && cur.end > 0 && !cur.warned {
		cur.warned = true
		l.cfg.Logger.Warn("token ends unless a login succeeds", "epoch", cur.token.Epoch, "ends_in", (cur.end - now).Round(time.Second))
	}
	if l.cfg.Trace.OnFailure != nil {
		l.cfg.Trace.OnFailure(err, time.Now().Add(pause))
	}
}

func (l *loop) setError(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
}
