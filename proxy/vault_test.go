package proxy

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/vaulttest"
)

// unstable is what differs between two equal sessions with Vault.
var unstable = regexp.MustCompile(`"request_id":"[^"]*"|hvs\.[A-Za-z0-9_-]+|hvb\.[A-Za-z0-9_-]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\d[T ][0-9:.]+Z?|"accessor": ?"[^"]*"|"[a-z]+_accessor": ?"[^"]*"|"(creation_time|expire_time|ttl|creation_ttl|last_used_time|serial_number|uuid|lease_duration|server_time_utc|cluster_name)":[^,}]*|auth_token_[0-9a-f]+|auth_approle_[0-9a-f]+|[a-z0-9]+_[0-9a-f]{8}|127\.0\.0\.1:\d+|vault:v1:[A-Za-z0-9+/=]+`)

func stable(s string) string { return unstable.ReplaceAllString(s, "~") }

// script is a session with Vault; %T is a token made in it.
var script = []struct {
	method, path, body string
	header             []string
}{
	{"PUT", "/v1/secret/data/app", `{"data":{"user":"a","n":12345678901234567890}}`, nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"GET", "/v1/secret/data/app?version=1", "", nil},
	{"GET", "/v1/secret/data/app?version=7", "", nil},
	{"HEAD", "/v1/secret/data/app", "", nil},
	{"GET", "/v1/secret/data/missing", "", nil},
	{"LIST", "/v1/secret/metadata/", "", nil},
	{"GET", "/v1/secret/metadata?list=true", "", nil},
	{"GET", "/v1/secret/metadata/app", "", nil},
	{"PATCH", "/v1/secret/data/app", `{"data":{"b":"c"}}`, []string{"Content-Type", "application/merge-patch+json"}},
	{"GET", "/v1/secret/data/app", "", nil},
	{"GET", "/v1/secret/subkeys/app", "", nil},
	{"PUT", "/v1/secret/data/a%2Fb", `{"data":{"x":"1"}}`, nil},
	{"GET", "/v1/secret/data/a%2Fb", "", nil},
	{"GET", "/v1/secret/data/a/b", "", nil},
	{"PUT", "/v1/secret/delete/app", `{"versions":[2]}`, nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"PUT", "/v1/secret/undelete/app", `{"versions":[2]}`, nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"DELETE", "/v1/secret/metadata/app", "", nil},
	{"GET", "/v1/secret/data/app", "", nil},
	{"PUT", "/v1/kv1/x", `{"k":"v"}`, nil},
	{"GET", "/v1/kv1/x", "", nil},
	{"GET", "/v1/kv1/x", "", nil},
	{"GET", "/v1/kv1/x", "", []string{"X-Vault-Wrap-TTL", "1m"}},
	{"GET", "/v1/kv1/x/", "", nil},
	{"GET", "/v1/kv1//x", "", nil},
	{"GET", "/v1/kv1/../kv1/x", "", nil},
	{"DELETE", "/v1/kv1/x", "", nil},
	{"GET", "/v1/kv1/x", "", nil},
	{"POST", "/v1/auth/token/create", `{"policies":["default"],"ttl":"1h"}`, nil},
	{"POST", "/v1/auth/token/create", `{"policies":["default"],"type":"batch","ttl":"1h"}`, nil},
	{"POST", "/v1/auth/token/create", "{", nil},
	{"GET", "/v1/auth/token/lookup-self", "", nil},
	{"GET", "/v1/sys/health?standbyok=true", "", nil},
	{"GET", "/v1/sys/seal-status", "", []string{"X-Vault-Token", ""}},
	{"GET", "/v1/nowhere", "", nil},
	{"GET", "/v1/secret/data/app", "", []string{"X-Vault-Token", "hvs.wrong"}},
	{"GET", "/v1/secret/data/app", "", []string{"X-Vault-Token", ""}},
	{"OPTIONS", "/v1/secret/data/app", "", nil},
	{"PUT", "/v1/sys/policies/acl/p", `{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}`, nil},
	{"POST", "/v1/secret/data/big", `{"data":{"x":"` + strings.Repeat("y", 300<<10) + `"}}`, nil},
	{"GET", "/v1/secret/data/big", "", nil},
	{"GET", "/v1/secret/data/big", "", nil},
	{"POST", "/v1/sys/wrapping/wrap", `{"a":"b"}`, []string{"X-Vault-Wrap-TTL", "2m"}},
	{"GET", "/v1/sys/metrics", "", nil},
	{"GET", "/", "", nil},
}

// TestAScriptedSessionIsTheSameStraightAndThrough runs script against two fresh
// servers, one of them through the caching proxy.
func TestAScriptedSessionIsTheSameStraightAndThrough(t *testing.T) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	straight := vaulttest.Start(t)
	want, _ := runScript(t, client, straight.Addr, straight.RootToken)
	behind := vaulttest.Start(t)
	r := start(t, behind.Addr, func(c *Config) { c.UserAgent, c.Cache = "", &Cache{StaticSecrets: true, MaxAge: time.Minute} })
	got, hits := runScript(t, client, r.url, behind.RootToken)
	sameLines(t, want, got, hits)
}

// runScript returns a line for each answer, and how many came from the cache.
func runScript(t *testing.T, client *http.Client, url, token string) (lines []string, hits int) {
	t.Helper()
	for _, s := range script {
		header := append([]string{"X-Vault-Token", token, "X-Vault-Request", "true"}, s.header...)
		if slices.Contains(s.header, "X-Vault-Token") {
			header = s.header
		}
		a := ask(t, client, s.method, url+s.path, s.body, header...)
		if a.header.Get("X-Cache") == "HIT" {
			hits++
		}
		for _, ours := range []string{"Date", "X-Cache", "Age", "Content-Length"} {
			a.header.Del(ours)
		}
		if s.path == "/v1/sys/metrics" {
			a.body = ""
		}
		lines = append(lines, stable(fmt.Sprintf("%s %s: %d %v %s", s.method, s.path, a.status, a.header, a.body)))
	}
	return lines, hits
}

func sameLines(t *testing.T, straight, through []string, hits int) {
	t.Helper()
	for i := range straight {
		if straight[i] != through[i] {
			t.Errorf("straight %.400s\nthrough  %.400s", straight[i], through[i])
		}
	}
	if hits < 4 {
		t.Errorf("only %d answers came from the cache", hits)
	}
}

// TestClients runs the vault command, Go's client, curl and python through the proxy.
func TestClients(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"password": "hunter2"})
	child := &Child{Token: NewChildToken()}
	r := start(t, v.Addr, func(c *Config) {
		c.AutoAuth, c.Child, c.Cache = true, child, &Cache{StaticSecrets: true, MaxAge: time.Minute}
	})
	r.login(v.RootToken, 1)
	token := child.Token.Reveal()

	settings := api.DefaultConfig()
	settings.Address = r.url
	client, err := api.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer settings.HttpClient.CloseIdleConnections()
	client.SetToken(token)
	for range 3 {
		s, err := client.KVv2("secret").Get(t.Context(), "app")
		if err != nil || s.Data["password"] != "hunter2" {
			t.Errorf("go client: %v %v", s, err)
		}
	}
	if s, err := client.Auth().Token().LookupSelf(); err != nil || s.Data["id"] != nil {
		t.Errorf("look-up through the child token: %v", err)
	}
	vault, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	python := `import json,os,urllib.request as u
r=u.Request(os.environ["VAULT_ADDR"]+"/v1/secret/data/app",headers={"X-Vault-Token":os.environ["VAULT_TOKEN"]})
print(json.load(u.urlopen(r))["data"]["data"]["password"])`
	for _, command := range [][]string{
		{vault, "kv", "get", "-field=password", "secret/app"},
		{vault, "read", "-field=data", "secret/data/app"},
		{vault, "kv", "put", "secret/other", "a=b"},
		{vault, "kv", "list", "secret"},
		{vault, "token", "lookup"},
		{vault, "status"},
		{"curl", "-sS", "--fail", "-H", "X-Vault-Token: " + token, r.url + "/v1/secret/data/app"},
		{"curl", "-sS", "--fail", "--http2-prior-knowledge", "-H", "Authorization: Bearer " + token, r.url + "/v1/secret/data/app"},
		{"python3", "-c", python},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("no %s here", command[0])
			continue
		}
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "VAULT_ADDR="+r.url, "VAULT_TOKEN="+token, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), v.RootToken+"\n") {
			t.Errorf("%s %s: %v\n%s", filepath.Base(command[0]), command[1], err, out)
		}
	}
}

// TestCommunityServerIsNotStaleForEver: Vault Proxy 1.21 with cache_static_secrets
// serves the first value for ever on a server without events.
func TestCommunityServerIsNotStaleForEver(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"value": "old"})
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: 200 * time.Millisecond} })
	read := func() answer { return r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", v.RootToken) }
	read()
	if a := read(); a.header.Get("X-Cache") != "HIT" {
		t.Fatalf("no hit: %v", a.header)
	}
	v.PutKV2(t, "secret/app", map[string]any{"value": "new"})
	written := time.Now()
	for !strings.Contains(read().body, "new") {
		if time.Since(written) > 5*time.Second {
			t.Fatal("the old value is still served")
		}
	}
}

// TestTokensAreSharedAndRevoked: what Vault Proxy's own tests say of token creation.
func TestTokensAreSharedAndRevoked(t *testing.T) {
	v := vaulttest.Start(t)
	r := start(t, v.Addr, func(c *Config) { c.AutoAuth, c.Lend, c.Cache = true, LendMissing, &Cache{} })
	r.login(v.RootToken, 1)
	create := func(path, body string) answer { return r.ask(t, "POST", "/v1/auth/token/"+path, body) }
	for _, path := range []string{"create", "create-orphan"} {
		one, two := create(path, `{"ttl":"1h"}`), create(path, `{"ttl":"1h"}`)
		if one.header.Get("X-Cache") != "MISS" || two.header.Get("X-Cache") != "HIT" || token(one) != token(two) || token(one) == "" {
			t.Errorf("%s: %v %v", path, one.header, two.header)
		}
		if three := create(path, `{"ttl":"2h"}`); three.header.Get("X-Cache") != "MISS" || token(three) == token(one) {
			t.Errorf("%s: another body gave the same token", path)
		}
		if a := r.ask(t, "POST", "/v1/auth/token/revoke-self", "", "X-Vault-Token", token(one)); a.status != 204 {
			t.Errorf("revoke: %d", a.status)
		}
		if four := create(path, `{"ttl":"1h"}`); four.header.Get("X-Cache") != "MISS" || token(four) == token(one) || !v.TokenAlive(t, token(four)) {
			t.Errorf("%s: the revoked token was given out", path)
		}
	}
}

var clientToken = regexp.MustCompile(`"client_token":"([^"]*)"`)

func token(a answer) string {
	if m := clientToken.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}
