package main

import (
	"fmt"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsMigration runs the examples of docs/migration.md against a real Vault.
func TestDocsMigration(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	dir := t.TempDir()
	place(t, dir, "app", "#!/bin/sh\ntest \"$DB\" = s3cret -o \"$URL\" = postgres://app:s3cret@db -o \"$password\" = s3cret -o \"$DB_PASSWORD\" = s3cret\n")
	place(t, dir, "token", v.RootToken)
	place(t, dir, "agent.hcl", `auto_auth { method "token_file" { config = { token_file_path = "token" } } }
		env_template "DB" { contents = "{{ with secret \"secret/db\" }}{{ .Data.data.password }}{{ end }}" }
		exec { command = ["app"] }`)
	examples := blocks(readFile(t, "docs/migration.md"), "sh")
	if len(examples) != 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for i, script := range examples {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) {
			runExample(t, dir, script, []string{"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.RootToken})
		})
	}
}
