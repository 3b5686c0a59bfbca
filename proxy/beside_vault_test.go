//go:build integration

package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationBesideVaultProxy: one session with the lease cache of vault proxy and with ours, each
// before a real Vault of its own: what is shared alike, and what theirs gets wrong.
func TestIntegrationBesideVaultProxy(t *testing.T) {
	theirs := besideSession(t, func(v *vaulttest.Server, role vaulttest.Role) (*http.Client, string) {
		return vaultProxy(t, v, role), "http://proxy"
	})
	ours := besideSession(t, func(v *vaulttest.Server, role vaulttest.Role) (*http.Client, string) {
		r := start(t, v.Addr, func(c *Config) { c.AutoAuth, c.Lend, c.Cache = true, LendMissing, &Cache{} })
		login := v.Write(t, "auth/approle/login", map[string]any{"role_id": role.ID, "secret_id": role.SecretID})
		r.login(login.Auth.ClientToken, 1)
		return r.client, r.url
	})
	for _, want := range [][3]string{ // what, theirs, ours
		{"an equal creation", "shared", "shared"},
		{"its header", "HIT", "HIT"},
		{"a creation with another body", "new", "new"},
		{"a creation of a child", "shared", "shared"},
		{"a creation of a token nobody knows", "new", "new"},
		{"an orphan of a token nobody knows", "shared", "new"}, // whose right to make one may have ended
		{"a look-up", "", "never a hit"},
		{"a creation by another client program", "new", "shared"},
		{"an equal login", "shared", "new"},
		{"the time left", "as at first", "as at vault"},
		{"a renewal", "HIT", "MISS"},
		{"after a child revoked itself", "new", "new"},
		{"after a prefix was revoked", "a dead token", "a live token"},
		{"after all was cleared", "nothing is shared", "shared"},
	} {
		if want[1] == "" {
			want[1] = want[2]
		}
		if theirs[want[0]] != want[1] || ours[want[0]] != want[2] {
			t.Errorf("%s: vault proxy %q, want %q; ours %q, want %q", want[0], theirs[want[0]], want[1], ours[want[0]], want[2])
		}
	}
}

// vaultProxy runs it with auto-auth and a cache, and returns a client that reaches it.
func vaultProxy(t *testing.T, v *vaulttest.Server, role vaulttest.Role) *http.Client {
	t.Helper()
	binary, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"role": role.ID, "secret": role.SecretID, "proxy.hcl": `auto_auth {
  method "approle" {
    config = { role_id_file_path = "role" secret_id_file_path = "secret" remove_secret_id_file_after_reading = false }
  }
}
api_proxy { use_auto_auth_token = true }
cache {}
listener "unix" {
  address = "socket"
  tls_disable = true
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "proxy", "-config=proxy.hcl")
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, log, log, append(cmd.Environ(), "HOME="+dir, "VAULT_ADDR="+v.Addr, "VAULT_TOKEN=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "socket"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // its token is there a moment after its socket
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://proxy/v1/auth/token/lookup-self", nil)
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return client
			}
		}
		if time.Since(began) > time.Minute {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("vault proxy does not serve:\n%s", text)
		}
	}
}

// besideSession returns how a caching proxy behaves, by what is asked of it.
func besideSession(t *testing.T, run func(*vaulttest.Server, vaulttest.Role) (*http.Client, string)) map[string]string {
	t.Helper()
	v := vaulttest.Start(t)
	v.Policy(t, "maker", `path "auth/token/create" { capabilities = ["update"] }
path "auth/token/create-orphan" { capabilities = ["update", "sudo"] }`)
	role := v.AppRole(t, map[string]any{"token_ttl": "1h"}, "maker")
	client, url := run(v, role)
	got := map[string]string{}
	send := func(who, method, path, body string, header ...string) answer {
		t.Helper()
		if who != "" {
			header = append(header, "X-Vault-Token", who)
		}
		a := ask(t, client, method, url+"/v1/"+path, body, header...)
		if a.status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
		}
		return a
	}
	create := func(who, body string, header ...string) string {
		t.Helper()
		return token(send(who, "POST", "auth/token/create", body, header...))
	}
	shared := func(a, b string) string {
		if a == b {
			return "shared"
		}
		return "new"
	}
	const body = `{"policies":["maker"],"ttl":"1h"}`
	first := send("", "POST", "auth/token/create", body)
	began, child := time.Now(), token(first)
	again := send("", "POST", "auth/token/create", body)
	got["an equal creation"], got["its header"] = shared(child, token(again)), again.header.Get("X-Cache")
	got["a creation with another body"] = shared(child, create("", `{"policies":["maker"],"ttl":"2h"}`))
	grandchild := create(child, body)
	got["a creation of a child"] = shared(grandchild, create(child, body))
	foreign := v.Token(t, nil, "maker")
	got["a creation of a token nobody knows"] = shared(create(foreign, body), create(foreign, body))
	orphan := func() string { return token(send(foreign, "POST", "auth/token/create-orphan", body)) }
	got["an orphan of a token nobody knows"] = shared(orphan(), orphan())
	got["a look-up"] = "never a hit"
	for range 3 {
		if send(child, "GET", "auth/token/lookup-self", "").header.Get("X-Cache") == "HIT" {
			got["a look-up"] = "a hit"
		}
	}
	got["a creation by another client program"] = shared(child, create("", body, "User-Agent", "another/1"))
	login := func() string {
		return token(send("", "POST", "auth/approle/login", fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, role.ID, role.SecretID)))
	}
	got["an equal login"] = shared(login(), login())

	for time.Since(began) < 3*time.Second {
		time.Sleep(100 * time.Millisecond)
	}
	got["the time left"] = left(t, v, child, first, send("", "POST", "auth/token/create", body))
	send(child, "POST", "auth/token/renew-self", `{"increment":"1h"}`)
	got["a renewal"] = send(child, "POST", "auth/token/renew-self", `{"increment":"1h"}`).header.Get("X-Cache")

	// Theirs drops what was revoked a moment later.
	send(grandchild, "POST", "auth/token/revoke-self", "")
	for began := time.Now(); got["after a child revoked itself"] != "new" && time.Since(began) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		got["after a child revoked itself"] = shared(grandchild, create(child, body))
	}
	send(v.RootToken, "PUT", "sys/leases/revoke-prefix/auth/token/create", "")
	straight := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	alive := func(token string) bool { // the prefix takes the root token, too
		return ask(t, straight, "GET", v.Addr+"/v1/auth/token/lookup-self", "", "X-Vault-Token", token).status == 200
	}
	for began := time.Now(); alive(child); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the prefix is never revoked")
		}
	}
	time.Sleep(time.Second)
	got["after a prefix was revoked"] = "a live token"
	if !alive(create("", body)) {
		got["after a prefix was revoked"] = "a dead token"
	}
	if a := ask(t, client, "POST", url+"/proxy/v1/cache-clear", `{"type":"all"}`); a.status != 200 {
		t.Fatalf("cache-clear: %d %s", a.status, a.body)
	}
	got["after all was cleared"] = "shared"
	if one := create("", body); shared(one, create("", body)) == "new" {
		got["after all was cleared"] = "nothing is shared"
	}
	return got
}

// left compares the time that a hit says is left of a token with the first answer and with Vault.
func left(t *testing.T, v *vaulttest.Server, token string, first, hit answer) string {
	t.Helper()
	say := func(a answer) int64 {
		var s struct {
			Auth struct {
				Left int64 `json:"lease_duration"`
			}
		}
		_ = json.Unmarshal([]byte(a.body), &s)
		return s.Auth.Left
	}
	really, _ := v.Write(t, "auth/token/lookup", map[string]any{"token": token}).Data["ttl"].(json.Number).Int64()
	switch said := say(hit); {
	case said == say(first):
		return "as at first"
	case said >= really-2 && said <= really:
		return "as at vault"
	default:
		return fmt.Sprintf("%d s, at vault %d", said, really)
	}
}
