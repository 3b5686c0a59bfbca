package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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

// In a namespace init asks there and nowhere else, and the file it writes reads there. The
// community edition of Vault has none, so this is a stand-in that knows one.
func TestInitNamespace(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var many []string
		for i := range initMost + 1 {
			many = append(many, fmt.Sprintf("s%d", i))
		}
		answers := map[string]any{
			"/v1/auth/token/lookup-self":             map[string]any{"id": "given", "policies": []string{"app"}},
			"/v1/sys/internal/ui/mounts/kv":          map[string]any{"path": "kv/", "type": "kv", "options": map[string]any{"version": "2"}},
			"/v1/sys/internal/ui/mounts/kv/many":     map[string]any{"path": "kv/", "type": "kv", "options": map[string]any{"version": "2"}},
			"/v1/sys/internal/ui/mounts/kv/data/app": map[string]any{"path": "kv/", "type": "kv", "options": map[string]any{"version": "2"}},
			"/v1/sys/internal/ui/mounts/kv/app":      map[string]any{"path": "kv/", "type": "kv", "options": map[string]any{"version": "2"}},
			"/v1/kv/metadata?list=true":              map[string]any{"keys": []string{"app", "many/"}},
			"/v1/kv/metadata/many?list=true":         map[string]any{"keys": many},
			"/v1/kv/data/app":                        map[string]any{"data": map[string]any{"key": "v4lue"}, "metadata": map[string]any{"version": 1, "created_time": "2026-01-01T00:00:00Z"}},
		}
		at := strings.TrimSuffix(r.URL.Path, "/")
		if r.URL.Query().Get("list") != "" {
			at += "?list=true"
		}
		data := answers[at]
		if strings.HasPrefix(at, "/v1/kv/data/many/") {
			data = answers["/v1/kv/data/app"]
		}
		if data == nil || r.Header.Get("X-Vault-Namespace") != "team/" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[]}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	defer server.Close()
	dir := t.TempDir()
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "envexec", args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "VAULT_TOKEN=given", "VAULT_ADDR=" + server.URL, "GORACE=atexit_sleep_ms=0"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("init", "--namespace", "team", "kv/app", "-o", "x.hcl"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if text := readFile(t, dir+"/x.hcl"); !strings.Contains(text, `namespace = "team/"`) || strings.Contains(text, "v4lue") {
		t.Error(text)
	}
	if out, err := run("render", "--show-values", "--config", "x.hcl"); err != nil || !strings.Contains(out, "APP_KEY") || !strings.Contains(out, "v4lue") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := run("init", "kv/app"); err == nil {
		t.Errorf("outside of its namespace: %s", out)
	}
	if out, err := run("init", "--namespace", "team", "kv/*"); err == nil || !strings.Contains(out, "more than 1000 secrets: name fewer") {
		t.Errorf("%v: %s", err, out)
	}
}
