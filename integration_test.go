//go:build integration

package main

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationScripts runs the command line against a real Vault with a real
// PostgreSQL behind it, and over outages as long as real ones.
func TestIntegrationScripts(t *testing.T) {
	runScripts(t, "integration", map[string]func(*testscript.TestScript, bool, []string){
		"postgres": cmdPostgres,
		"pause":    cmdPause,
	})
}

// cmdPostgres drives a real PostgreSQL.
//
//	postgres start ROLE [k=v…]   one for the script, with a Vault in front whose role ROLE makes logins
//	postgres logins N            exactly N logins made by Vault exist, waiting for it
//	postgres works FILE          the last login in FILE, a line "… USER=u PASSWORD=p …", may connect
func cmdPostgres(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: postgres VERB args…")
	}
	t := scriptT{ts}
	v := ts.Value(vaultKey{}).(*scriptVault)
	switch args[0] {
	case "start":
		v.postgres = vaulttest.StartPostgres(t)
		v.Server = vaulttest.Start(t, vaulttest.WithPostgresPlugin(t))
		params := map[string]any{}
		maps.Copy(params, pairs(ts, args[2:]))
		v.Database(t, v.postgres, args[1], params)
		ts.Setenv("VAULT_ADDR", v.Addr)
	case "logins":
		var got string
		for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
			var err error
			got, err = v.postgres.Query(v.postgres.User, v.postgres.Password, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'`)
			ts.Check(err)
			if got = strings.TrimSpace(got); got == args[1] {
				return
			}
		}
		ts.Fatalf("%s logins exist, want %s", got, args[1])
	case "works":
		line := ts.ReadFile(args[1])
		_, last, _ := strings.Cut(line[strings.LastIndex(line, "USER="):], "USER=")
		user, rest, _ := strings.Cut(last, " PASSWORD=")
		password, _, _ := strings.Cut(rest, " ")
		_, err := v.postgres.Query(user, strings.TrimSpace(password), "SELECT 1")
		ts.Check(err)
	default:
		ts.Fatalf("postgres: unknown verb %q", args[0])
	}
}

// cmdPause lets an outage last: there is no event to wait for when nothing must happen.
//
//	pause DURATION
func cmdPause(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	<-time.After(d)
}
