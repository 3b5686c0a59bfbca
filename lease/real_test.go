package lease

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// real is a running Store on a real Vault.
type real struct {
	*Store
	t        *testing.T
	root     *api.Client
	w        *Watcher
	requests atomic.Int64
	invalid  chan secret.Token
	epoch    uint64
}

func onRealVault(t *testing.T, cfg Config) *real {
	root := vaulttest.Start(t).Client(t)
	return onVaultAt(t, cfg, root, root.Address())
}

// onVaultAt reaches root's Vault at an address of its own.
func onVaultAt(t *testing.T, cfg Config, root *api.Client, address string) *real {
	client, err := root.Clone()
	if err == nil {
		err = client.SetAddress(address)
	}
	if err != nil {
		t.Fatal(err)
	}
	client.ClearToken()
	r := &real{t: t, root: root, invalid: make(chan secret.Token, 10)}
	cfg.Client = client
	cfg.OnInvalidToken = func(tok secret.Token) { r.invalid <- tok }
	cfg.Trace.OnRequest = func(secret.Request, int, time.Duration, error) { r.requests.Add(1) }
	if r.Store, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.w = r.Watch()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; client.CloneConfig().HttpClient.CloseIdleConnections() })
	return r
}

// login makes a token with these policies and hands it over.
func (r *real) login(policy string, opts api.TokenCreateRequest) string {
	r.t.Helper()
	name := fmt.Sprintf("p%d", r.epoch)
	if err := r.root.Sys().PutPolicy(name, policy); err != nil {
		r.t.Fatal(err)
	}
	opts.Policies = append(opts.Policies, name)
	made, err := r.root.Auth().Token().Create(&opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.epoch++
	_ = r.WriteToken(r.t.Context(), secret.Token{ID: secret.NewText(made.Auth.ClientToken), Epoch: r.epoch})
	return made.Auth.ClientToken
}

// write does a root write and fails the test on error.
func (r *real) write(path string, kv ...any) *api.Secret {
	r.t.Helper()
	body := map[string]any{}
	for i := 0; i < len(kv); i += 2 {
		body[kv[i].(string)] = kv[i+1]
	}
	s, err := r.root.Logical().Write(path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *real) get(req secret.Request) *secret.Secret {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	s, err := r.w.Get(ctx, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *real) refused(req secret.Request) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	_, err := r.w.Get(ctx, req)
	return err
}

func TestRealKV(t *testing.T) {
	r := onRealVault(t, Config{StaticInterval: 200 * time.Millisecond, MinInterval: 100 * time.Millisecond})
	if err := r.root.Sys().Mount("old", &api.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}); err != nil {
		t.Fatal(err)
	}
	r.write("secret/data/app", "data", map[string]any{"k": "one", "n": 1000000})
	r.write("secret/data/app", "data", map[string]any{"k": "two", "n": 1000000})
	r.write("old/app", "k", "v1", "ttl", "1h")
	r.write("secret/data/gone", "data", map[string]any{"k": "v"})
	if _, err := r.root.Logical().Delete("secret/data/gone"); err != nil {
		t.Fatal(err)
	}
	r.write("secret/destroy/dead", "versions", "1")
	r.login(`path "secret/data/*" { capabilities = ["read"] } path "secret/metadata/*" { capabilities = ["list"] } path "old/*" { capabilities = ["read","list"] }`, api.TokenCreateRequest{NoDefaultPolicy: true})

	for _, path := range []string{"secret/app", "secret/data/app"} {
		s := r.get(secret.Request{Path: path})
		if s.KV != 2 || s.Version != 2 || s.Values()["k"] != "two" || fmt.Sprint(s.Values()["n"]) != "1000000" || s.Epoch != 0 {
			t.Errorf("%s: KV %d version %d n %v epoch %d", path, s.KV, s.Version, s.Values()["n"], s.Epoch)
		}
	}
	if s := r.get(secret.Request{Path: "secret/app", Version: 1}); s.Values()["k"] != "one" || s.Version != 1 {
		t.Errorf("version 1: %d", s.Version)
	}
	if s := r.get(secret.Request{Path: "old/app"}); s.KV != 1 || s.Values()["k"] != "v1" {
		t.Errorf("KV v1: KV %d keys %v", s.KV, s.Keys())
	}
	if s := r.get(secret.Request{Op: secret.List, Path: "secret"}); !strings.Contains(fmt.Sprint(s.Data["keys"]), "app") {
		t.Errorf("list: %v", s.Data)
	}
	for path, want := range map[string]error{
		"secret/data/gone": secret.ErrMissing, "secret/gone": secret.ErrMissing, "secret/none": secret.ErrMissing,
		"sys/mounts": secret.ErrForbidden, "nowhere/x": secret.ErrForbidden,
	} {
		if err := r.refused(secret.Request{Path: path}); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := r.refused(secret.Request{Path: "secret/gone"}); !strings.Contains(err.Error(), "was deleted at") {
		t.Errorf("deleted: %v", err)
	}
	r.write("secret/data/app", "data", map[string]any{"k": "three"})
	deadline := time.After(5 * time.Second)
	for r.get(secret.Request{Path: "secret/app"}).Values()["k"] != "three" {
		select {
		case <-r.w.Changed():
		case <-deadline:
			t.Fatal("change was not told")
		}
	}
}

func TestRealLeasesAndTokens(t *testing.T) {
	r := onRealVault(t, Config{MinInterval: 100 * time.Millisecond, MinBackoff: 50 * time.Millisecond})
	if err := r.root.Sys().Mount("pki", &api.MountInput{Type: "pki"}); err != nil {
		t.Fatal(err)
	}
	r.write("pki/root/generate/internal", "common_name", "test", "ttl", "24h")
	r.write("pki/roles/leased", "allow_any_name", true, "generate_lease", true, "ttl", "2s", "max_ttl", "1h")
	r.write("pki/roles/plain", "allow_any_name", true, "ttl", "3s", "not_before_duration", "0s")
	const policy = `path "pki/*" { capabilities = ["create","update"] } path "sys/leases/renew" { capabilities = ["update"] }`
	first := r.login(policy, api.TokenCreateRequest{NoDefaultPolicy: true})
	leased := secret.Request{Op: secret.Write, Path: "pki/issue/leased", Body: map[string]any{"common_name": "a"}}
	plain := secret.Request{Op: secret.Write, Path: "pki/issue/plain", Body: map[string]any{"common_name": "b"}}
	a, b := r.get(leased), r.get(plain)
	if a.LeaseID == "" || a.LeaseTTL < time.Second || a.Epoch != 1 || b.LeaseID != "" || b.Epoch != 0 {
		t.Fatalf("lease %v epoch %d, plain epoch %d", a.LeaseTTL, a.Epoch, b.Epoch)
	}
	replaced := func(req secret.Request, old *secret.Secret) bool {
		deadline := time.After(10 * time.Second)
		for {
			if s := r.get(req); s.Data["serial_number"] != old.Data["serial_number"] {
				return true
			}
			select {
			case <-r.w.Changed():
			case <-deadline:
				return false
			}
		}
	}
	if !replaced(leased, a) || !replaced(plain, b) {
		t.Error("short certificates were not replaced")
	}

	if err := r.root.Auth().Token().RevokeTree(first); err != nil {
		t.Fatal(err)
	}
	select {
	case tok := <-r.invalid:
		if tok.Epoch != 1 {
			t.Errorf("epoch %d", tok.Epoch)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("revoked token was not noticed")
	}
	r.login(policy, api.TokenCreateRequest{NoDefaultPolicy: true})
	deadline := time.After(10 * time.Second)
	for r.w.Epoch() != 2 {
		select {
		case <-r.w.Changed():
		case <-deadline:
			t.Fatal("still on the first login")
		}
	}
}

func TestRealTransitAndUnwrap(t *testing.T) {
	r := onRealVault(t, Config{})
	if err := r.root.Sys().Mount("transit", &api.MountInput{Type: "transit"}); err != nil {
		t.Fatal(err)
	}
	r.write("transit/keys/app")
	var batch []any
	for _, v := range []string{"one", "two"} {
		c := r.write("transit/encrypt/app", "plaintext", base64.StdEncoding.EncodeToString([]byte(v)))
		batch = append(batch, map[string]any{"ciphertext": c.Data["ciphertext"]})
	}
	r.login(`path "transit/decrypt/app" { capabilities = ["update"] }`, api.TokenCreateRequest{})
	s := r.get(secret.Request{Op: secret.Write, Path: "transit/decrypt/app", Body: map[string]any{"batch_input": batch}})
	if out := fmt.Sprint(s.Data["batch_results"]); !strings.Contains(out, base64.StdEncoding.EncodeToString([]byte("two"))) {
		t.Errorf("batch: %v", s.Keys())
	}

	wrapping, err := r.root.Clone()
	if err != nil {
		t.Fatal(err)
	}
	wrapping.SetToken("root")
	wrapping.SetWrappingLookupFunc(func(string, string) string { return "1m" })
	r.write("secret/data/app", "data", map[string]any{"k": "v"})
	wrapped, err := wrapping.Logical().Read("secret/data/app")
	if err != nil {
		t.Fatal(err)
	}
	req := secret.Request{Op: secret.Write, Path: "sys/wrapping/unwrap", Body: map[string]any{"token": wrapped.WrapInfo.Token}}
	if s := r.get(req); s.Values()["k"] != "v" {
		t.Errorf("unwrapped: %v", s.Keys())
	}
	before := r.requests.Load()
	r.Refresh()
	r.get(req)
	if n := r.requests.Load() - before; n != 0 {
		t.Errorf("%d more requests for a secret unwrapped once", n)
	}
	again, _ := wrapping.Logical().Read("secret/data/app")
	if _, err := r.root.Logical().Unwrap(again.WrapInfo.Token); err != nil {
		t.Fatal(err)
	}
	err = r.refused(secret.Request{Op: secret.Write, Path: "sys/wrapping/unwrap", Body: map[string]any{"token": again.WrapInfo.Token}})
	if err == nil || !strings.Contains(err.Error(), "wrapping token is not valid") || strings.Contains(err.Error(), again.WrapInfo.Token) {
		t.Errorf("token used before: %v", err)
	}
}

func TestRealTokenKinds(t *testing.T) {
	r := onRealVault(t, Config{MinBackoff: 50 * time.Millisecond})
	if err := r.root.Sys().Mount("pki", &api.MountInput{Type: "pki"}); err != nil {
		t.Fatal(err)
	}
	r.write("pki/root/generate/internal", "common_name", "test", "ttl", "24h")
	r.write("pki/roles/leased", "allow_any_name", true, "generate_lease", true, "ttl", "10m")
	r.write("secret/data/app", "data", map[string]any{"k": "v"})
	const policy = `path "pki/*" { capabilities = ["create","update"] } path "secret/data/*" { capabilities = ["read"] }`
	lease := func(name string) secret.Request {
		return secret.Request{Op: secret.Write, Path: "pki/issue/leased", Body: map[string]any{"common_name": name}}
	}

	r.login(policy, api.TokenCreateRequest{Type: "batch", TTL: "2m"})
	if s := r.get(lease("batch")); s.LeaseTTL > 2*time.Minute || s.Epoch != 1 {
		t.Errorf("batch: a lease of %v outlives its token", s.LeaseTTL)
	}
	r.login(policy, api.TokenCreateRequest{Period: "1h"})
	if s := r.get(lease("periodic")); s.LeaseTTL < 9*time.Minute {
		t.Errorf("periodic: %v", s.LeaseTTL)
	}
	_ = r.WriteToken(t.Context(), secret.Token{ID: secret.NewText("root"), Epoch: 3})
	r.epoch = 3
	if s := r.get(lease("root")); s.Epoch != 3 {
		t.Errorf("root: epoch %d", s.Epoch)
	}
	for _, name := range []string{"batch", "periodic", "root"} {
		r.w.Release(lease(name).Key())
	}

	made, err := r.root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"p0"}, NumUses: 2})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.WriteToken(t.Context(), secret.Token{ID: secret.NewText(made.Auth.ClientToken), Epoch: 4, NumUses: 2})
	r.get(secret.Request{Path: "secret/data/app"})
	time.AfterFunc(3*time.Second, func() {
		_ = r.WriteToken(context.Background(), secret.Token{ID: secret.NewText("root"), Epoch: 5})
	})
	if s := r.get(lease("last")); s.Epoch != 5 {
		t.Errorf("the last use made a lease: epoch %d", s.Epoch)
	}
}
