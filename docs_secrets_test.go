package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsSecrets runs every example of docs/secrets.md against a real Vault.
func TestDocsSecrets(t *testing.T) {
	page := readFile(t, filepath.Join("docs", "secrets.md"))
	v := vaulttest.Start(t)
	for range 2 {
		v.PutKV2(t, "secret/db", map[string]any{"user": "app", "password": "s3cret"})
	}
	v.PutKV2(t, "secret/app", map[string]any{"mode": "test"})
	v.PutKV2(t, "secret/web", map[string]any{"key": "pem"})
	v.Mount(t, "pki", "pki", nil)
	v.Write(t, "pki/root/generate/internal", map[string]any{"common_name": "root.test", "ttl": "80h"})
	v.Write(t, "pki/roles/web", map[string]any{"allowed_domains": "web.test", "allow_bare_domains": true, "max_ttl": "72h"})
	v.Policy(t, "reader", `path "secret/*" { capabilities = ["read", "list"] }
		path "pki/issue/web" { capabilities = ["update"] }`)
	role := v.AppRole(t, nil, "reader")
	vault, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}

	for i, script := range blocks(page, "sh") {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) {
			dir := t.TempDir()
			place(t, dir, ".vault-token", v.RootToken) // the vault command's own
			place(t, dir, "app", `#!/bin/sh
				test "$DB_PASSWORD" = s3cret || test "$DB_URL" = postgres://app:s3cret@db/app || test "$APP_MODE" = test ||
				test "$(cat tls.key 2>/dev/null)" = pem || test "$(cat "$DB_PASSWORD_FILE")" = s3cret`)
			if err := os.Symlink(vault, filepath.Join(dir, "vault")); err != nil {
				t.Fatal(err)
			}
			runExample(t, dir, script, []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID})
		})
	}
	for i, text := range blocks(page, "hcl") {
		t.Run(fmt.Sprintf("hcl %d", i+1), func(t *testing.T) {
			dir := t.TempDir()
			place(t, dir, "x.hcl", text)
			place(t, dir, "key", "a key made for the purpose")
			place(t, dir, "app", `#!/bin/sh
				test "$DB_PASSWORD" = s3cret && exit
				test "$DB_URL" = postgres://app:s3cret@db/app &&
				grep -q '^db$' names.txt && test -e reloaded && grep -q 'BEGIN CERTIFICATE' web.pem`)
			runExample(t, dir, "envexec --config x.hcl", []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID})
		})
	}
}
