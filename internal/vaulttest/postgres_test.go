//go:build integration

package vaulttest_test

import (
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

func TestDatabase(t *testing.T) {
	p := vaulttest.StartPostgres(t)
	v := vaulttest.Start(t, vaulttest.WithPostgresPlugin(t))
	v.Database(t, p, "reader", map[string]any{"default_ttl": "1m", "max_ttl": "5m"})
	lease := v.Read(t, "database/creds/reader")
	user, password := lease.Data["username"].(string), lease.Data["password"].(string)
	out, err := p.Query(user, password, "select current_user")
	if err != nil || strings.TrimSpace(out) != user {
		t.Errorf("query as the leased user: %q, %v", out, err)
	}
	if n := len(v.Leases(t, "database/creds/reader")); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
	v.Write(t, "sys/leases/revoke", map[string]any{"lease_id": lease.LeaseID, "sync": true})
	if _, err := p.Query(user, password, "select 1"); err == nil {
		t.Error("the leased user lives on after its revocation")
	}
}
