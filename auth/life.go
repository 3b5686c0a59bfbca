package auth

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// life is one live token and what is planned for it. Times are on the session's
// clock; 0 = never.
type life struct {
	token secret.Token
	full  time.Duration // what a renewal gave at best: less means that the maximum is near

	end       time.Duration // Vault ends the token then
	renewAt   time.Duration
	replaceAt time.Duration // log in again, whatever the renewals say
	fixed     bool          // no renewal makes it longer
	failures  int           // renewals failed in a row
	busy      bool          // a renewal or revocation is in flight
	dead      bool          // unknown to Vault, as far as we know
	warned    bool          // its end was announced
	used      int           // requests of ours made with it; counted only when its uses are few
	spent     bool          // the last use is gone and a new login was asked for

	wrapping  secret.Text   // of a wrapped login; the times are the wrapping's
	reclaimAt time.Duration // when a newer one is there
}

// newLife plans t, said at now. random spreads the instances of a fleet.
func newLife(t secret.Token, now time.Duration, random float64) *life {
	l := &life{token: t, full: t.TTL, fixed: !t.Renewable || t.TTL == 0 || t.NumUses > 0}
	l.plan(t.TTL, now, random)
	return l
}

// plan sets the times for a life of ttl from now: renew at 60 to 70 % of it,
// replace at 80 to 90 %.
func (l *life) plan(ttl, now time.Duration, random float64) {
	l.end, l.renewAt, l.replaceAt, l.failures = 0, 0, 0, 0
	if ttl <= 0 {
		return
	}
	l.end = now + ttl
	l.replaceAt = now + part(ttl, 0.80+0.10*random)
	if !l.fixed {
		l.renewAt = now + part(ttl, 0.60+0.10*random)
	}
}

// renewed takes a renewal's answer in. Clearly less than the best answer so far
// means that the token's maximum cut it: no further renewal helps.
func (l *life) renewed(ttl time.Duration, renewable bool, now time.Duration, random float64) {
	if ttl+time.Second < part(l.full, 0.98) || !renewable {
		l.fixed = true
	}
	l.full = max(l.full, ttl)
	l.token.TTL, l.token.At = ttl, time.Now()
	l.plan(ttl, now, random)
}

// fix stops renewals: Vault will not extend this token.
func (l *life) fix() { l.fixed, l.renewAt = true, 0 }

// revocable reports whether a revoke-self makes sense.
func (l *life) revocable(now time.Duration) bool {
	return l.token.Own && !l.dead && l.token.Kind != "batch" && (l.end == 0 || now < l.end)
}

func part(d time.Duration, f float64) time.Duration { return time.Duration(float64(d) * f) }

// tokenOf reads a login's answer. ok is false when there is no token in it.
func tokenOf(s *api.Secret) (t secret.Token, ok bool) {
	switch {
	case s == nil:
		return t, false
	case s.WrapInfo != nil:
		info, err := json.Marshal(s.WrapInfo)
		t = secret.Token{ID: secret.NewText(string(info)), Accessor: s.WrapInfo.Accessor}
		return t, err == nil && s.WrapInfo.Token != ""
	case s.Auth != nil:
		t = secret.Token{
			ID: secret.NewText(s.Auth.ClientToken), Accessor: s.Auth.Accessor, Policies: s.Auth.Policies,
			TTL: seconds(s.Auth.LeaseDuration), Renewable: s.Auth.Renewable, Own: true,
		}
		t.NumUses, _ = s.Data[method.DataNumUses].(int)
		t.Kind, _ = s.Data[method.DataTokenType].(string)
	default:
		id, _ := s.Data["id"].(string)
		t = secret.Token{ID: secret.NewText(id), TTL: seconds(whole(s.Data["ttl"])), Period: seconds(whole(s.Data["period"])), NumUses: whole(s.Data["num_uses"])}
		t.Accessor, _ = s.Data["accessor"].(string)
		t.Kind, _ = s.Data["type"].(string)
		t.Renewable, _ = s.Data["renewable"].(bool)
		if list, isList := s.Data["policies"].([]any); isList {
			for _, p := range list {
				if name, isText := p.(string); isText {
					t.Policies = append(t.Policies, name)
				}
			}
		}
	}
	if t.Kind == "" && strings.HasPrefix(t.ID.Reveal(), "hvb.") {
		t.Kind = "batch"
	}
	t.At = time.Now()
	return t, !t.ID.Empty()
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func whole(v any) int {
	switch n := v.(type) {
	case json.Number:
		i, _ := n.Int64()
		return int(i)
	case int:
		return n
	case float64:
		return int(n)
	}
	return 0
}
