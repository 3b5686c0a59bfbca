package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsProxy runs the examples of docs/proxy.md.
func TestDocsProxy(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"mode": "test"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "reader")
	dir := t.TempDir()
	vault, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(vault, filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	page := readFile(t, "docs/proxy.md")
	place(t, dir, "proxy.hcl", blocks(page, "hcl")[0])
	env := []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID}
	for i, script := range blocks(page, "sh") {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, env) })
	}
}
