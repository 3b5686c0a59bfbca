//go:build integration

package vaulttest_test

import (
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

func TestIntegrationServerWithEvents(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.WithEvents(t))
	v.Policy(t, "app", `path "secret/data/app" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "app")
	v.PutKV2(t, "secret/app", map[string]any{"a": "1"})
	c := v.ClientFor(t, "")
	login, err := c.Logical().Write("auth/approle/login", map[string]any{"role_id": role.ID, "secret_id": role.SecretID})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(login.Auth.ClientToken)
	if _, err := c.Logical().Read("secret/data/app"); err != nil {
		t.Error(err)
	}
}
