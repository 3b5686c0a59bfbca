package main

import (
	"fmt"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsCommands runs the examples of docs/commands.md against a real Vault.
func TestDocsCommands(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }
		path "secret/metadata/*" { capabilities = ["list"] }`)
	role := v.AppRole(t, nil, "reader")
	dir := t.TempDir()
	place(t, dir, "role-id", role.ID)
	place(t, dir, "secret-id", role.SecretID)
	place(t, dir, "app", "#!/bin/sh\nexit 0\n")
	place(t, dir, "agent.hcl", `auto_auth { method "approle" { config = {
		role_id_file_path = "role-id"
		secret_id_file_path = "secret-id" } } }
		exec { command = ["app"] }`)
	examples := blocks(readFile(t, "docs/commands.md"), "sh")
	if len(examples) == 0 {
		t.Fatal("docs/commands.md has no example")
	}
	for i, script := range examples {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, []string{"VAULT_ADDR=" + v.Addr}) })
	}
}

func TestAsksForJSON(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"check", "--format", "json"}, true},
		{[]string{"-format=json", "check"}, true},
		{[]string{"check", "--format"}, false},
		{[]string{"check", "--format", "text"}, false},
		{[]string{"--format", "json"}, false},
		{[]string{"check", "--", "--format", "json"}, false},
	} {
		if got := asksForJSON(c.args); got != c.want {
			t.Errorf("asksForJSON(%q) = %v, want %v", c.args, got, c.want)
		}
	}
}
