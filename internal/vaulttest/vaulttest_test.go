package vaulttest_test

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	v := vaulttest.Start(t)
	v.Policy(t, "app", `path "secret/data/app" { capabilities = ["read"] }`)
	role := v.AppRole(t, map[string]any{"token_ttl": "1h"}, "app")
	wrapped := v.WrappedSecretID(t, role, time.Minute)
	if version := v.PutKV2(t, "secret/app", map[string]any{"a": "1"}); version != 1 {
		t.Errorf("first version is %d", version)
	}
	v.PutKV1(t, "kv1/app", map[string]any{"b": "2"})

	mark := v.Mark(t)
	c := v.ClientFor(t, "")
	unwrapped, err := c.Logical().Unwrap(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	login, err := c.Logical().Write("auth/approle/login", map[string]any{"role_id": role.ID, "secret_id": unwrapped.Data["secret_id"]})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(login.Auth.ClientToken)
	if _, err := c.Logical().Read("secret/data/app"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Logical().Read("kv1/app"); err == nil {
		t.Error("the policy let a foreign path through")
	}

	var got []string
	for _, r := range v.AuditLog(t, mark) {
		got = append(got, r.Operation+" "+r.Path)
	}
	want := []string{"update sys/wrapping/unwrap", "update auth/approle/login", "read secret/data/app", "read kv1/app"}
	if !slices.Equal(got, want) {
		t.Errorf("audit log has %q, want %q", got, want)
	}
	if !v.TokenAlive(t, c.Token()) {
		t.Error("the token is not alive")
	}
	if err := c.Auth().Token().RevokeSelf(""); err != nil {
		t.Fatal(err)
	}
	if v.TokenAlive(t, c.Token()) {
		t.Error("the token is alive after its revocation")
	}
}

func TestAuditing(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV1(t, "kv1/app", map[string]any{"a": "1"})
	for _, on := range []bool{false, false, true, true} { // twice: it says a state, it does not toggle
		v.Auditing(t, on)
		mark := v.Mark(t)
		v.Read(t, "kv1/app")
		if logged := len(v.AuditLog(t, mark)) == 1; logged != on {
			t.Errorf("auditing %v, but a read was logged: %v", on, logged)
		}
	}
}

func TestSeal(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"a": "1"})
	v.Seal(t)
	if _, err := v.Client(t).Logical().Read("secret/data/app"); err == nil {
		t.Error("a sealed server answered")
	}
	v.Unseal(t)
	if v.Read(t, "secret/data/app") == nil {
		t.Error("the secret is gone")
	}
}

func TestDurableRestart(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.Durable())
	v.PutKV2(t, "secret/app", map[string]any{"a": "1"})
	addr := v.Addr
	v.Restart(t)
	if v.Addr != addr || v.Read(t, "secret/data/app") == nil {
		t.Error("the address or the data changed")
	}
}
