//go:build integration

package proxy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationTheSessionsTokenIsNotTold: what a real Vault says of the session's token comes
// without its ids, and else as it says it.
func TestIntegrationTheSessionsTokenIsNotTold(t *testing.T) {
	v := vaulttest.Start(t)
	session := v.Token(t, map[string]any{"ttl": "1h"}, "default")
	accessor := fmt.Sprint(v.Write(t, "auth/token/lookup", map[string]any{"token": session}).Data["accessor"])
	r := start(t, v.Addr, func(c *Config) { c.AutoAuth, c.Lend, c.Cache = true, LendMissing, &Cache{} })
	r.login(session, 1)
	ours, root := []string(nil), []string{"X-Vault-Token", v.RootToken}
	named := fmt.Sprintf(`{"token":%q}`, session)
	for _, tt := range []struct {
		method, path, body string
		header             []string
	}{
		{"GET", "auth/token/lookup-self", "", ours}, {"GET", "auth/token/lookup-self", "", []string{"X-Vault-Token", session}},
		{"POST", "auth/token/lookup", named, root}, {"POST", "auth/token/renew-self", "{}", ours}, {"POST", "auth/token/renew", named, root},
	} {
		a := r.ask(t, tt.method, "/v1/"+tt.path, tt.body, tt.header...)
		if a.status != 200 || strings.Contains(a.body, session) || strings.Contains(a.body, accessor) {
			t.Errorf("%s: %d %s", tt.path, a.status, a.body)
		}
		header := tt.header
		if header == nil {
			header = []string{"X-Vault-Token", session}
		}
		straight := ask(t, r.client, tt.method, v.Addr+"/v1/"+tt.path, tt.body, header...)
		if !strings.Contains(straight.body, session) || !reflect.DeepEqual(untold(t, straight.body), untold(t, a.body)) {
			t.Errorf("%s: straight %s\nthrough %s", tt.path, straight.body, a.body)
		}
	}
}

// untold is an answer without the ids and what differs between two moments.
func untold(t *testing.T, body string) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	delete(all, "request_id")
	for section, names := range map[string][]string{"data": {"id", "accessor", "ttl", "expire_time", "last_renewal", "last_renewal_time"}, "auth": {"client_token", "accessor", "lease_duration"}} {
		inner, _ := all[section].(map[string]any)
		for _, name := range names {
			delete(inner, name)
		}
	}
	return all
}

// TestIntegrationCacheClear: each type empties what it names and no more, for tokens of a real
// Vault, and what is cleared is not revoked.
func TestIntegrationCacheClear(t *testing.T) {
	v := vaulttest.Start(t)
	v.Policy(t, "maker", `path "auth/token/create" { capabilities = ["update"] }
path "secret/*" { capabilities = ["read"] }`)
	v.PutKV2(t, "secret/app", map[string]any{"a": "b"})
	session := v.Token(t, nil, "maker")
	r := start(t, v.Addr, func(c *Config) {
		c.AutoAuth, c.Lend, c.Cache = true, LendMissing, &Cache{StaticSecrets: true, MaxAge: 1 << 50}
	})
	r.login(session, 1)
	const body = `{"policies":["maker"],"ttl":"1h"}`
	hit := func(who, method, path, body string) (bool, answer) {
		var header []string
		if who != "" {
			header = []string{"X-Vault-Token", who}
		}
		a := r.ask(t, method, "/v1/"+path, body, header...)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
		return a.header.Get("X-Cache") == "HIT", a
	}
	for _, tt := range []struct {
		kind, value             string
		child, grandchild, read bool // that are still hits: the session's creation, its child's, the child's read
	}{
		{"request_path", "/v1/auth/token/create", false, false, false}, // a creation takes what hangs on its token
		{"request_path", "/v1/secret/data/", true, true, false},
		{"request_path", "/v1/elsewhere", true, true, true},
		{"token", "%token", false, false, false},
		{"token_accessor", "%accessor", false, false, false},
		{"token", "hvs.nobodys", true, true, true},
		{"lease", "auth/token/create/nothing", true, true, true},
		{"all", "", false, false, false},
	} {
		_, made := hit("", "POST", "auth/token/create", body)
		child := token(made)
		for range 2 {
			hit(child, "POST", "auth/token/create", body)
			hit(child, "GET", "secret/data/app", "")
		}
		var self struct{ Auth struct{ Accessor string } }
		_ = json.Unmarshal([]byte(made.body), &self)
		clear := strings.NewReplacer("%token", child, "%accessor", self.Auth.Accessor).Replace(fmt.Sprintf(`{"type":%q,"value":%q}`, tt.kind, tt.value))
		if a := r.ask(t, "PUT", "/proxy/v1/cache-clear", clear); a.status != 200 {
			t.Fatalf("%s: %d %s", clear, a.status, a.body)
		}
		read, _ := hit(child, "GET", "secret/data/app", "") // first: what follows makes the child known anew
		grandchild, _ := hit(child, "POST", "auth/token/create", body)
		own, _ := hit("", "POST", "auth/token/create", body)
		if own != tt.child || grandchild != tt.grandchild || read != tt.read {
			t.Errorf("%s %s: hits %t %t %t, want %t %t %t", tt.kind, tt.value, own, grandchild, read, tt.child, tt.grandchild, tt.read)
		}
		if !v.TokenAlive(t, child) {
			t.Errorf("%s %s: the token was revoked", tt.kind, tt.value)
		}
	}
}
