package auth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// wrappings is a method whose nth login is wrapped as "wN" for a minute, and a Vault that
// knows which of them were unwrapped.
func wrappings(t *testing.T, read map[string]bool, status int) (*fakeMethod, *fakeVault) {
	t.Helper()
	m := &fakeMethod{login: func(n int) (*api.Secret, error) {
		return &api.Secret{WrapInfo: &api.SecretWrapInfo{Token: fmt.Sprint("w", n), TTL: 60}}, nil
	}}
	return m, &fakeVault{wrapping: func(op, token string) (int, string) {
		switch {
		case status != 0:
			return status, `{"errors":["sealed"]}`
		case read[token]:
			return http.StatusBadRequest, `{"errors":["wrapping token is not valid or does not exist"]}`
		case op == "unwrap":
			read[token] = true
			return http.StatusOK, fmt.Sprintf(`{"auth":{"client_token":"inside %s"}}`, token)
		}
		return http.StatusOK, `{"data":{"creation_path":"auth/fake/login"}}`
	}}
}

// TestWrappedLoginThatWasReadIsLeftAlone: it is its reader's.
func TestWrappedLoginThatWasReadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{}
		m, vault := wrappings(t, map[string]bool{"w1": true}, 0)
		s, stop := start(t, vault, m, func(c *Config) { c.Sinks, c.WrapTTL = []Sink{sink}, time.Minute })
		time.Sleep(time.Hour)
		_ = stop()
		_ = s.Close(t.Context())
		if m.count() != 1 || strings.Join(vault.calls, ", ") != "lookup w1" || len(sink.got) != 1 {
			t.Errorf("%d logins, requests %v", m.count(), vault.calls)
		}
	})
}

// TestWrappedLoginNobodyRead: the sink always holds one that can be unwrapped, and the tokens
// nobody will ever get are revoked.
func TestWrappedLoginNobodyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{}
		read := map[string]bool{}
		m, vault := wrappings(t, read, 0)
		begin := time.Now()
		s, stop := start(t, vault, m, func(c *Config) { c.Sinks, c.WrapTTL = []Sink{sink}, time.Minute })
		time.Sleep(55 * time.Second)
		synctest.Wait()
		if m.count() != 2 || !strings.Contains(sink.tokens(), "w2") {
			t.Errorf("%d logins before the first wrapping has ended", m.count())
		}
		if n := vault.count("unwrap"); n != 0 {
			t.Error("the first was taken away while its reader may come")
		}
		time.Sleep(10*time.Minute - time.Since(begin))
		_ = stop()
		_ = s.Close(t.Context())
		if got, want := vault.count("revoke-self"), m.count()-1; got != want || m.count() < 11 || vault.count("revoke-self inside") != got {
			t.Errorf("%d logins, %d revoked, want all but the last: %v", m.count(), got, vault.calls)
		}
		if last := fmt.Sprint("w", m.count()); read[last] {
			t.Error("the last one is not left to its reader")
		}
	})
}

// TestWrappedLoginWhileVaultIsAway: nobody knows whether it was read, so there is another
// when it has ended.
func TestWrappedLoginWhileVaultIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, vault := wrappings(t, nil, http.StatusServiceUnavailable)
		_, stop := start(t, vault, m, func(c *Config) { c.Sinks, c.WrapTTL = []Sink{&fakeSink{}}, time.Minute })
		time.Sleep(59 * time.Second)
		asked := vault.count("lookup")
		if m.count() != 1 || asked < 2 || asked > 30 {
			t.Errorf("%d logins, asked %d times", m.count(), asked)
		}
		time.Sleep(2 * time.Second)
		if m.count() != 2 {
			t.Errorf("%d logins after its end, want 2", m.count())
		}
		_ = stop()
	})
}

// TestWrappingOnARealVault: what a real one says of a wrapping that is whole, and of one that is not.
func TestWrappingOnARealVault(t *testing.T) {
	v := vaulttest.Start(t)
	role := v.AppRole(t, nil, "default")
	c := v.ClientFor(t, "")
	s, err := New(Config{Client: c, Method: &fakeMethod{}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	login := func() (*life, string) {
		t.Helper()
		answer, err := c.Logical().Write("auth/approle/login", map[string]any{"role_id": role.ID, "secret_id": role.SecretID})
		if err != nil {
			t.Fatal(err)
		}
		return newWrapped(secret.Token{}, answer.WrapInfo, 0, 0), answer.WrapInfo.WrappedAccessor
	}
	unread, accessor := login()
	if err := s.lookAtWrapping(t.Context(), unread); err != nil {
		t.Errorf("a whole one: %v", err)
	}
	if err := s.revokeWrapped(t.Context(), unread); err != nil || slices.Contains(v.Accessors(t), accessor) {
		t.Errorf("the token in it lives on: %v", err)
	}
	read, accessor := login()
	if _, err := v.ClientFor(t, "").Logical().Unwrap(read.wrapping.Reveal()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"look": s.lookAtWrapping(t.Context(), read), "revoke": s.revokeWrapped(t.Context(), read)} {
		if err == nil || judge(err) == transient {
			t.Errorf("%s at one that was unwrapped: %v, want a refusal", name, err)
		}
	}
	if !slices.Contains(v.Accessors(t), accessor) {
		t.Error("its reader's token is gone")
	}
}
