package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// A wrapped login belongs to whoever unwraps it, and nobody renews it here. But one that
// nobody has unwrapped shortly before its wrapping ends would be lost, and its reader come too
// late: then there is another login, and the sink gets its wrapping. The one it had before
// stays good until it nearly ends, for a reader who has just read it; then the token in it,
// which nobody can get at any more, is revoked.

// newWrapped plans the wrapped login t, said at now.
func newWrapped(t secret.Token, w *api.SecretWrapInfo, now time.Duration, random float64) *life {
	o := &life{token: t, wrapping: secret.NewText(w.Token)}
	if ttl := seconds(w.TTL); ttl > 0 {
		o.end, o.replaceAt, o.reclaimAt = now+ttl, now+part(ttl, 0.80+0.10*random), now+part(ttl, 0.95)
	}
	return o
}

// whetherRead finds out whether o was unwrapped, without doing it.
func (l *loop) whetherRead(o *life) {
	o.replaceAt = 0
	l.begin(func(ctx context.Context) func(*loop) {
		err := l.lookAtWrapping(ctx, o)
		return func(l *loop) {
			switch now := l.cfg.now(); {
			case o.dead || o != l.current() || l.want != "":
			case err == nil:
				l.cfg.Logger.Info("nobody unwrapped the token, logging in again", "epoch", o.token.Epoch)
				l.want, l.next = "token not read", 0
			case judge(err) == transient:
				o.replaceAt = now + jitter(l.cfg.random(), l.cfg.MinBackoff, max(l.cfg.MinBackoff, (o.end-now)/10), 1)
			default:
				l.mark(o)
				l.cfg.Logger.Info("the token was unwrapped by its reader", "epoch", o.token.Epoch)
			}
		}
	})
}

// lookAtWrapping fails for a wrapping that was unwrapped or has ended.
func (s *Session) lookAtWrapping(ctx context.Context, o *life) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	_, err := method.Send(ctx, s.client, http.MethodPut, "sys/wrapping/lookup", map[string]any{"token": o.wrapping.Reveal()})
	return err
}

// reclaim revokes the token in o, unless somebody has unwrapped it.
func (l *loop) reclaim(o *life) {
	l.forget(o)
	l.begin(func(ctx context.Context) func(*loop) {
		err := l.revokeWrapped(ctx, o)
		return func(l *loop) {
			switch {
			case err == nil:
				l.cfg.Logger.Info("a token nobody unwrapped is revoked", "epoch", o.token.Epoch)
			case judge(err) == transient:
				l.cfg.Logger.Warn("a token nobody unwrapped was not revoked", "epoch", o.token.Epoch, "error", Describe(err))
			}
		}
	})
}

func (s *Session) revokeWrapped(ctx context.Context, o *life) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c := s.client.WithNamespace(s.client.Namespace()) // a copy
	c.SetToken(o.wrapping.Reveal())
	answer, err := method.Send(ctx, c, http.MethodPut, "sys/wrapping/unwrap", nil)
	if err != nil {
		return err
	}
	if answer == nil || answer.Auth == nil {
		return errNoToken
	}
	t := o.token
	t.ID = secret.NewText(answer.Auth.ClientToken)
	return s.revoke(ctx, t)
}
