//go:build integration

package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationClientsSeeTheSame: the vault command, Go's client, Python's hvac and
// curl have the same session with a fresh Vault, straight and through the caching
// proxy: what they print is the same but for what differs between any two sessions.
func TestIntegrationClientsSeeTheSame(t *testing.T) {
	for name, session := range map[string]func(t *testing.T, address, token string) []string{
		"vault": vaultCommand, "go": goClient, "hvac": hvacClient, "curl": curlClient,
	} {
		t.Run(name, func(t *testing.T) {
			run := func(through bool) ([]string, uint64) {
				v := vaulttest.Start(t)
				if !through {
					return session(t, v.Addr, v.RootToken), 0
				}
				r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Minute} })
				return session(t, r.url, v.RootToken), r.Stats().Cache.Hits
			}
			straight, _ := run(false)
			through, hits := run(true)
			if len(straight) != len(through) || len(straight) < 15 {
				t.Fatalf("%d lines straight, %d through", len(straight), len(through))
			}
			for i := range straight {
				if s, p := stable(straight[i]), stable(through[i]); s != p {
					t.Errorf("straight %s\nthrough  %s", s, p)
				}
			}
			if hits == 0 {
				t.Error("nothing came from the cache")
			}
		})
	}
}

// tool finds a client of another maker.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	vaulttest.Missing(t, vaulttest.PartClients, "no "+names[0])
	return ""
}

// command returns what a command printed and how it ended.
func command(t *testing.T, address, token string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+address, "VAULT_TOKEN="+token, "HOME="+t.TempDir(), "PYTHONIOENCODING=utf-8", "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), address, "ADDRESS") + fmt.Sprint(" status ", cmd.ProcessState.ExitCode())
}

func vaultCommand(t *testing.T, address, token string) (lines []string) {
	vault, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"kv put -format=json secret/cli a=1 b=2", "kv get -format=json secret/cli", "kv get -format=json secret/cli", "kv get -format=json secret/cli",
		"kv get -field=a secret/cli", "kv patch -format=json secret/cli c=3", "kv get -format=json secret/cli", "kv get -format=json -version=1 secret/cli",
		"kv list -format=json secret", "kv metadata get -format=json secret/cli", "kv delete secret/cli", "kv get -format=json secret/cli",
		"kv undelete -versions=2 secret/cli", "kv get -format=json secret/cli", "kv destroy -versions=1 secret/cli", "kv get -format=json -version=1 secret/cli",
		"kv metadata delete secret/cli", "kv get secret/cli", "write -format=json kv1/cli k=v", "read -format=json kv1/cli", "read -format=json kv1/cli",
		"delete kv1/cli", "read kv1/cli", "secrets list -format=json", "auth list -format=json", "policy list", "policy read default",
		"token create -format=json -policy=default -ttl=1h", "token create -format=json -policy=default -type=batch -ttl=1h", "token lookup -format=json",
		"token capabilities secret/cli", "token revoke hvs.nonsense", "status -format=json", "write -format=json -wrap-ttl=60s sys/wrapping/wrap a=b",
		"read -format=json sys/seal-status", "read nowhere/at/all", "kv get -mount=secret -format=json none", "list -format=json sys/policies/acl",
	} {
		lines = append(lines, args+": "+command(t, address, token, append([]string{vault}, strings.Fields(args)...)...))
	}
	return lines
}

func goClient(t *testing.T, address, token string) (lines []string) {
	settings := api.DefaultConfig()
	settings.Address = address
	c, err := api.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer settings.HttpClient.CloseIdleConnections()
	c.SetToken(token)
	ctx := t.Context()
	show := func(name string, answer any, err error) {
		if refused, ok := errors.AsType[*api.ResponseError](err); ok {
			refused.URL = ""
		}
		text, _ := json.Marshal(answer)
		lines = append(lines, fmt.Sprintf("%s %s %v", name, text, err))
	}
	kv, kv1 := c.KVv2("secret"), c.KVv1("kv1")
	put, err := kv.Put(ctx, "go", map[string]any{"a": "1"})
	show("put", put, err)
	for range 3 {
		got, err := kv.Get(ctx, "go")
		show("get", got, err)
	}
	patched, err := kv.Patch(ctx, "go", map[string]any{"b": "2"})
	show("patch", patched, err)
	got, err := kv.Get(ctx, "go")
	show("get", got, err)
	got, err = kv.GetVersion(ctx, "go", 1)
	show("version", got, err)
	versions, err := kv.GetVersionsAsList(ctx, "go")
	show("versions", versions, err)
	show("delete", nil, kv.Delete(ctx, "go"))
	got, err = kv.Get(ctx, "go")
	show("deleted", got, err)
	show("undelete", nil, kv.Undelete(ctx, "go", []int{2}))
	got, err = kv.Rollback(ctx, "go", 1)
	show("rollback", got, err)
	show("metadata gone", nil, kv.DeleteMetadata(ctx, "go"))
	show("put 1", nil, kv1.Put(ctx, "go", map[string]any{"k": "v"}))
	for range 3 {
		got, err := kv1.Get(ctx, "go")
		show("get 1", got, err)
	}
	mounts, err := c.Sys().ListMountsWithContext(ctx)
	show("mounts", mounts, err)
	health, err := c.Sys().HealthWithContext(ctx)
	show("health", health, err)
	made, err := c.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{Policies: []string{"default"}, TTL: "1h"})
	show("token", made, err)
	self, err := c.Auth().Token().LookupSelfWithContext(ctx)
	show("self", self, err)
	if made != nil {
		renewed, err := c.Auth().Token().RenewTokenAsSelfWithContext(ctx, made.Auth.ClientToken, 60)
		show("renewed", renewed, err)
		show("revoked", nil, c.Auth().Token().RevokeTreeWithContext(ctx, made.Auth.ClientToken))
		renewed, err = c.Auth().Token().RenewTokenAsSelfWithContext(ctx, made.Auth.ClientToken, 60)
		show("renewed after", renewed, err)
	}
	c.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	wrapped, err := c.Logical().ReadWithContext(ctx, "kv1/go")
	show("wrapped", wrapped, err)
	c.SetWrappingLookupFunc(nil)
	if wrapped != nil && wrapped.WrapInfo != nil {
		for range 2 {
			opened, err := c.Logical().UnwrapWithContext(ctx, wrapped.WrapInfo.Token)
			show("unwrapped", opened, err)
		}
	}
	return lines
}

func hvacClient(t *testing.T, address, token string) []string {
	python := tool(t, "/usr/bin/python3", "python3")
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import hvac").CombinedOutput(); err != nil {
		vaulttest.Missing(t, vaulttest.PartClients, "no python3-hvac: "+string(out))
	}
	return strings.Split(command(t, address, token, python, "testdata/session.py"), "\n")
}

func curlClient(t *testing.T, address, token string) (lines []string) {
	curl := tool(t, "curl")
	for _, args := range [][]string{
		{"-X", "PUT", "-d", `{"data":{"a":"1"}}`, "/v1/secret/data/curl"}, {"/v1/secret/data/curl"}, {"/v1/secret/data/curl"}, {"/v1/secret/data/curl"},
		{"-X", "LIST", "/v1/secret/metadata/"}, {"/v1/secret/metadata/?list=true"}, {"-I", "/v1/secret/data/curl"}, {"-X", "OPTIONS", "/v1/secret/data/curl"},
		{"-X", "PUT", "-d", `{"data":{"s":"1"}}`, "/v1/secret/data/a%2Fb"}, {"/v1/secret/data/a%2Fb"}, {"/v1/secret/data/a/b"}, {"/v1/secret/data/curl/"},
		{"-X", "DELETE", "/v1/secret/data/curl"}, {"/v1/secret/data/curl"}, {"-H", "X-Vault-Wrap-TTL: 60", "/v1/secret/data/a/b"},
		{"-T", "testdata/session.py", "/v1/secret/data/curl"}, {"--path-as-is", "/v1/secret/../secret/data/a/b"}, {"/v1/sys/seal-status"},
	} {
		path := args[len(args)-1]
		full := append([]string{curl, "-sS", "-o", "-", "-w", " %{http_code} %{content_type}", "-H", "X-Vault-Token: " + token, "-H", "X-Vault-Request: true"}, args[:len(args)-1]...)
		out := command(t, address, token, append(full, address+path)...)
		if args[0] == "-I" {
			_, out, _ = strings.Cut(out, "\r\n\r\n")
		}
		lines = append(lines, strings.Join(args, " ")+": "+out)
	}
	return lines
}
