package envtemplate_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/secret"
)

// stage is a Vault with something of every kind, and a store that reads it.
type stage struct {
	*vaulttest.Server
	store *lease.Store
}

func onVault(t *testing.T) *stage {
	s := &stage{Server: vaulttest.Start(t)}
	s.Policy(t, "app", `
path "secret/data/app" { capabilities = ["read"] }
path "secret/data/gone" { capabilities = ["read"] }
path "secret/metadata/*" { capabilities = ["list"] }
path "pki/issue/web" { capabilities = ["update"] }
path "transit/decrypt/k" { capabilities = ["update"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }`)
	s.PutKV2(t, "secret/app", map[string]any{"user": "admin", "password": "s3cr3t", "n": 1000000})
	client := s.Client(t)
	client.ClearToken()
	store, err := lease.New(lease.Config{Client: client, StaticInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.store = store
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if err := store.WriteToken(ctx, secret.Token{ID: secret.NewText(s.Token(t, nil, "app")), Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts a Renderer; next waits for its next Generation or Run's error.
func (s *stage) run(t *testing.T, cfg envtemplate.Config) (next func() (envtemplate.Generation, error)) {
	t.Helper()
	cfg.Source = s.store.Watch()
	r, err := envtemplate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var result error
	go func() { defer close(done); result = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return func() (envtemplate.Generation, error) {
		select {
		case g := <-r.Generations():
			return g, nil
		case <-done:
			return envtemplate.Generation{}, result
		case <-time.After(30 * time.Second):
			return envtemplate.Generation{}, errors.New("no generation")
		}
	}
}

func TestOnVault(t *testing.T) {
	s := onVault(t)
	s.Mount(t, "pki", "pki", nil)
	s.Write(t, "pki/root/generate/internal", map[string]any{"common_name": "root.test", "ttl": "24h"})
	s.Write(t, "pki/roles/web", map[string]any{"allow_any_name": true, "max_ttl": "1h"})
	s.Mount(t, "transit", "transit", nil)
	s.Write(t, "transit/keys/k", nil)
	cipher := s.Write(t, "transit/encrypt/k", map[string]any{"plaintext": "aGVsbG8="}).Data["ciphertext"].(string)

	dir := t.TempDir()
	pem := filepath.Join(dir, "web.pem")
	pki := envtemplate.Template{
		Destination: pem, Perms: 0o600,
		Contents: `{{ with pkiCert "pki/issue/web" "common_name=web.test" }}{{ .Cert }}{{ .Key }}{{ .CA }}{{ end }}`,
	}
	next := s.run(t, envtemplate.Config{
		Variables: []envtemplate.Variable{
			{Name: "WRITTEN", Text: "vault:secret/data/app#password"},
			{Name: "SHORT", Text: "pg://${vault:secret/app#user}:${vault:secret/app#password#1}@db"},
			{Name: "N", Path: "secret/app", Key: "n"},
			{Name: "CIPHER", Text: "vault:" + strings.TrimPrefix(cipher, "vault:")},
			{Name: "OPT", Text: "vault:secret/data/gone#x?none"},
		},
		From:    []envtemplate.From{{Path: "secret/app", Prefix: "app_", Upcase: true}},
		Transit: envtemplate.Transit{Key: "k"},
		EnvTemplates: []envtemplate.EnvTemplate{
			{Name: "T", Contents: `{{ range secrets "secret/metadata/" }}{{ . }}{{ end }}:{{ with secret "secret/app" }}{{ .Data.data.user }}@{{ .Data.metadata.version }}{{ end }}`},
		},
		Templates: []envtemplate.Template{pki},
	})
	g, err := next()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"WRITTEN": "s3cr3t", "SHORT": "pg://admin:s3cr3t@db", "N": "1000000", "CIPHER": "hello", "OPT": "none", "T": "app:admin@1",
		"APP_USER": "admin", "APP_PASSWORD": "s3cr3t", "APP_N": "1000000",
	} {
		if got, _ := g.Vars.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := g.WriteFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(pem)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(first, first); err != nil {
		t.Errorf("certificate and key do not belong together: %v", err)
	}

	s.PutKV2(t, "secret/app", map[string]any{"user": "admin", "password": "n3w", "n": 1000000})
	s.store.Refresh()
	for got := ""; got != "n3w"; got, _ = g.Vars.Get("WRITTEN") { // each way to write the path is a read of its own
		if g, err = next(); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := g.Vars.Get("SHORT"); got != "pg://admin:s3cr3t@db" {
		t.Errorf("pinned version is %q", got)
	}
}

func TestProblemsOnVault(t *testing.T) {
	s := onVault(t)
	next := s.run(t, envtemplate.Config{Variables: []envtemplate.Variable{
		{Name: "KEY", Text: "vault:secret/data/app#typo"},
		{Name: "PATH_", Text: "vault:secret/data/gone#x"},
		{Name: "CLOSED", Text: "vault:secret/data/closed#x"},
	}})
	_, err := next()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`variable KEY: secret/data/app has no key "typo", only: n, password, user`,
		"variable PATH_: secret/data/gone: secret is missing", "variable CLOSED: secret/data/closed: permission denied",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}
