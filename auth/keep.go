package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Keeper keeps records over restarts, sealed at rest. A *sealed.Part is one.
type Keeper interface {
	Load() map[string][]byte
	// Save adds or replaces records and removes others; it is durable when it returns.
	Save(put map[string][]byte, remove []string) error
}

const keptName = "login"

// kept is the record of a login.
type kept struct {
	For       string // Config.KeepFor
	Print     string // fingerprint of the credentials; "" = unknown
	ID        string
	Accessor  string
	Namespace string
	Kind      string
	Policies  []string
	Renewable bool
	TTL       time.Duration
	At        time.Time // when TTL was said
}

// recall returns the login of an earlier life; nil when there is none for us.
func (s *Session) recall() *kept {
	if s.cfg.Keep == nil {
		return nil
	}
	var k kept
	if json.Unmarshal(s.cfg.Keep.Load()[keptName], &k) != nil || k.ID == "" || k.For != s.cfg.KeepFor || k.Namespace != s.client.Namespace() {
		return nil
	}
	return &k
}

// keeping is the sink that keeps each token. Tokens that were given come again by
// themselves, and those of few uses are spent soon: neither is kept.
type keeping struct{ *Session }

func (k keeping) WriteToken(_ context.Context, t secret.Token) error {
	if !t.Own || t.NumUses > 0 {
		return k.forgetKept()
	}
	k.mu.Lock()
	print := k.print
	k.mu.Unlock()
	record, err := json.Marshal(kept{
		For: k.cfg.KeepFor, Print: print, ID: t.ID.Reveal(), Accessor: t.Accessor, Namespace: t.Namespace, Kind: t.Kind,
		Policies: t.Policies, Renewable: t.Renewable, TTL: t.TTL, At: t.At,
	})
	if err != nil {
		return fmt.Errorf("keep the token: %w", err)
	}
	return k.cfg.Keep.Save(map[string][]byte{keptName: record}, nil)
}

func (s *Session) forgetKept() error {
	if s.cfg.Keep == nil {
		return nil
	}
	return s.cfg.Keep.Save(nil, []string{keptName})
}

// resume starts to look the kept token up: it may have ended while we were away, or
// the credentials may be others by now.
func (l *loop) resume(k *kept) {
	l.busy = true
	l.begin(func(ctx context.Context) func(*loop) {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
		defer cancel()
		print := l.fingerprint(ctx)
		if print != "" && k.Print != "" && print != k.Print {
			return func(l *loop) { l.drop(k, "the credentials are not those of the last start, logging in") }
		}
		s, err := method.Lookup(ctx, l.client, k.ID)
		return func(l *loop) { l.resumed(k, print, s, err) }
	})
}

// resumed takes the kept token up. Only silence makes us ask again: a token that is
// refused, for whatever reason, is dropped for a login.
func (l *loop) resumed(k *kept, print string, s *api.Secret, err error) {
	if err != nil && judge(err) == transient {
		l.loginDone("", false, nil, err)
		return
	}
	left := time.Until(k.At.Add(k.TTL))
	if err == nil && len(s.Data) == 1 { // alive, and may not look itself up
		if k.TTL > 0 && left <= 0 {
			s = nil
		} else {
			s.Data = map[string]any{"id": k.ID, "ttl": int(max(left, 0).Seconds()), "renewable": k.Renewable, "type": k.Kind, "accessor": k.Accessor, "policies": anyList(k.Policies)}
		}
	}
	if err != nil || s == nil {
		l.drop(k, "the token of the last start is no longer valid, logging in")
		return
	}
	l.kept, l.own = nil, true
	l.loginDone(print, false, s, nil)
}

// drop lets the next attempt be a login. The record goes when there is a newer one.
func (l *loop) drop(k *kept, why string) {
	l.kept, l.busy = nil, false
	l.cfg.Logger.Info(why, "accessor", k.Accessor) //nolint:sloglint // a constant of each caller
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
