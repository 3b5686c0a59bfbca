//go:build integration

package proxy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

var leaseID = regexp.MustCompile(`"lease_id":"([^"]+)"`)

// TestIntegrationLeasesOfPostgres: logins of a real database through a real Vault. One
// lease for equal requests, no other for anybody else, renewed while it is kept; and every
// form of revocation ends it here when it ends at Vault and in the database.
func TestIntegrationLeasesOfPostgres(t *testing.T) {
	pg := vaulttest.StartPostgres(t)
	v := vaulttest.Start(t, vaulttest.WithPostgresPlugin(t))
	v.Database(t, pg, "app", map[string]any{"default_ttl": "6s", "max_ttl": "1h"})
	v.Policy(t, "app", `path "database/creds/app" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }`)
	session := v.Token(t, nil, "root")
	r := start(t, v.Addr, func(c *Config) { c.AutoAuth, c.Lend, c.Cache = true, LendMissing, &Cache{} })
	r.login(session, 1)
	child := func() string {
		made := token(r.ask(t, "POST", "/v1/auth/token/create", fmt.Sprintf(`{"policies":["app"],"meta":{"n":"%d"}}`, time.Now().UnixNano())))
		if made == "" {
			t.Fatal("no child token")
		}
		return made
	}
	read := func(who string) (id string, hit bool) {
		t.Helper()
		var header []string
		if who != "" {
			header = []string{"X-Vault-Token", who}
		}
		a := r.ask(t, "GET", "/v1/database/creds/app", "", header...)
		m := leaseID.FindStringSubmatch(a.body)
		if m == nil {
			return fmt.Sprint(a.status), false
		}
		return m[1], a.header.Get("X-Cache") == "HIT"
	}
	alive := func(id string) bool {
		return r.ask(t, "PUT", "/v1/sys/leases/lookup", fmt.Sprintf(`{"lease_id":%q}`, id)).status == 200
	}

	first, _ := read("")
	if again, hit := read(""); !hit || again != first {
		t.Errorf("the session's lease was not shared: %s, hit %t", again, hit)
	}
	parent := child()
	theirs, _ := read(parent)
	if again, hit := read(parent); !hit || again != theirs || theirs == first {
		t.Errorf("a child's lease: %s and %s, hit %t", theirs, again, hit)
	}
	foreign := v.Token(t, nil, "app")
	read(foreign)
	if _, hit := read(foreign); hit {
		t.Error("a lease of a token nobody knows here was shared")
	}
	for began := time.Now(); time.Since(began) < 8*time.Second; <-time.After(500 * time.Millisecond) { // longer than its first time
		if again, hit := read(""); !hit || again != first {
			t.Fatalf("after %v: another lease", time.Since(began))
		}
	}
	if !alive(first) || r.Stats().Cache.Renewed == 0 {
		t.Error("the lease was not renewed")
	}

	for _, form := range []struct{ name, method, path, body string }{
		{"lease in the body", "PUT", "sys/leases/revoke", `{"lease_id":"%lease"}`}, {"lease in the URL", "PUT", "sys/leases/revoke/%lease", ""},
		{"old path", "PUT", "sys/revoke/%lease", ""}, {"prefix", "PUT", "sys/leases/revoke-prefix/database/creds/app", ""},
		{"force", "PUT", "sys/leases/revoke-force/database", ""}, {"token", "POST", "auth/token/revoke", `{"token":"%token"}`},
		{"accessor", "POST", "auth/token/revoke-accessor", `{"accessor":"%accessor"}`}, {"orphan", "POST", "auth/token/revoke-orphan", `{"token":"%token"}`},
		{"self", "POST", "auth/token/revoke-self", ""}, {"mount", "DELETE", "sys/mounts/database", ""},
	} {
		who := child()
		lease, _ := read(who)
		if again, hit := read(who); !hit || again != lease {
			t.Fatalf("%s: no hit before: %s", form.name, again)
		}
		looked := r.ask(t, "GET", "/v1/auth/token/lookup-self", "", "X-Vault-Token", who)
		accessor := regexp.MustCompile(`"accessor":"([^"]+)"`).FindStringSubmatch(looked.body)[1]
		fill := strings.NewReplacer("%lease", lease, "%token", who, "%accessor", accessor).Replace
		var header []string
		if form.name == "self" {
			header = []string{"X-Vault-Token", who}
		}
		if a := r.ask(t, form.method, "/v1/"+fill(form.path), fill(form.body), header...); a.status >= 300 {
			t.Fatalf("%s: %d %s", form.name, a.status, a.body)
		}
		if got, hit := read(who); hit || got == lease {
			t.Errorf("%s: the lease is still handed out", form.name)
		}
		for began := time.Now(); alive(lease); <-time.After(50 * time.Millisecond) { // Vault does it when it has time
			if time.Since(began) > time.Minute {
				t.Fatalf("%s: the lease lives on", form.name)
			}
		}
	}
}
