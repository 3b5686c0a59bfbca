package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	methods "github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsAuth runs the shell examples of docs/auth.md against a real Vault, makes the
// method of each configuration example, and looks for a section on every method.
func TestDocsAuth(t *testing.T) {
	page := readFile(t, filepath.Join("docs", "auth.md"))
	for _, name := range methods.Names() {
		_, section, found := strings.Cut(page, "\n### "+name+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		if !found || name != "token" && !strings.Contains(section, fmt.Sprintf("method %q", name)) {
			t.Errorf("no section with an example of method %s", name)
		}
	}
	env := environ.From([]string{
		"CF_INSTANCE_CERT=c", "CF_INSTANCE_KEY=k", "VAULT_ID_TOKEN=t", "ACTIONS_ID_TOKEN_REQUEST_URL=https://github.test", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=t",
	})
	for i, text := range blocks(page, "hcl") {
		t.Run(fmt.Sprintf("hcl %d", i+1), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.hcl")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse([]string{"check", "--config", file}, env)
			if err != nil || len(c.Warnings) > 0 {
				t.Fatalf("%v %v in\n%s", err, c, text)
			}
			if _, err := newMethod(c.Login, c.Vault, env, silent()); err != nil {
				t.Errorf("%v in\n%s", err, text)
			}
		})
	}

	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "reader")
	v.Write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	v.Write(t, "auth/userpass/users/grace", map[string]any{"password": "pass word", "token_policies": "reader"})
	dir := t.TempDir()
	place(t, dir, "app", "#!/bin/sh\ntest \"$DB_PASSWORD\" = s3cret\n")
	place(t, dir, "password", "pass word\n")
	place(t, dir, "token", v.Token(t, nil, "reader"))
	for _, script := range blocks(page, "sh") {
		for line := range strings.Lines(script) {
			t.Run("sh", func(t *testing.T) {
				runExample(t, dir, line, []string{"VAULT_ADDR=" + v.Addr, "ROLE_ID=" + role.ID, "SECRET_ID=" + role.SecretID})
			})
		}
	}
	for _, target := range submatches(page, `\]\(([^)#]+)[^)]*\)`) {
		if _, err := os.Stat(filepath.Join("docs", target)); err != nil {
			t.Error(err)
		}
	}
}
