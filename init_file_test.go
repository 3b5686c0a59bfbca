package main

import (
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// Whatever the secrets are called, the starter is read again without a problem, and every
// key has a variable of its own.
func TestStarterIsValid(t *testing.T) {
	awkward := []string{"a", "A", "a-b", "a.b", "a b", "1", "", `q"uote`, `back\slash`, "path", "é", "a#b", "_", "{{", "LD_PRELOAD", "line\nend"}
	var found []discovery
	for _, path := range []string{"secret/x", "secret/X", "other/x", "deep/er/x", `od"d/x`} {
		found = append(found, discovery{path: path, kv: 2, keys: awkward, null: map[string]bool{"1": true}})
	}
	cfg := &config.Config{Vault: config.Vault{Address: "https://vault:8200", Namespace: "team/"}, Login: config.Login{Method: "token", Source: "VAULT_TOKEN"}}
	text := starter(cfg, found)
	dir := t.TempDir()
	place(t, dir, "x.hcl", text)
	got, err := config.Parse([]string{"check", "--offline", "--config", dir + "/x.hcl"}, environ.Environ{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if n := len(got.Secrets.Variables) + len(got.Secrets.EnvTemplates); n != len(found)*len(awkward) {
		t.Errorf("%d variables for %d keys", n, len(found)*len(awkward))
	}
	if got.Vault.Namespace != "team/" {
		t.Errorf("namespace %q", got.Vault.Namespace)
	}
	if strings.Contains(text, "\nenv \"PATH\"") || strings.Contains(text, "\nenv \"LD_") {
		t.Error("a dangerous name is given out")
	}
}
