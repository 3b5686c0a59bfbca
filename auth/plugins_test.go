//go:build integration

package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// partPlugins are Vault's own auth plugins, built as programs into bin/plugins.
const partPlugins = "vault-auth-plugins"

// plugged starts Vault with an auth plugin and mounts it at auth/kind.
func plugged(t *testing.T, binary, kind string) *vaulttest.Server {
	t.Helper()
	root, err := vaulttest.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "bin", "plugins")
	b, err := os.ReadFile(filepath.Join(dir, binary))
	if errors.Is(err, os.ErrNotExist) {
		vaulttest.Missing(t, partPlugins, "no "+binary+" in bin/plugins")
	}
	if err != nil {
		t.Fatal(err)
	}
	v := vaulttest.Start(t, vaulttest.Plugins(dir))
	sum := sha256.Sum256(b)
	err = v.Client(t).Sys().RegisterPlugin(&api.RegisterPluginInput{
		Name: "our-" + kind, Type: api.PluginTypeCredential, SHA256: hex.EncodeToString(sum[:]), Command: binary,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.Write(t, "sys/auth/"+kind, map[string]any{"type": "our-" + kind})
	v.Policy(t, "app", `path "secret/*" { capabilities = ["read"] }`)
	return v
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// TestKubernetesPlugin: Vault's plugin against a TokenReview endpoint that knows one token.
func TestKubernetesPlugin(t *testing.T) {
	v := plugged(t, "vault-plugin-auth-kubernetes", "kubernetes")
	key := authtest.Key()
	account := func(name string) string {
		token, err := method.SignJWT(key, nil, map[string]any{
			"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:team:" + name, "aud": []string{"vault"},
			"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Unix(),
			"kubernetes.io": map[string]any{"namespace": "team", "serviceaccount": map[string]any{"name": name, "uid": "uid-" + name}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good, stranger := account("app"), account("stranger")
	cluster := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct{ Token string } `json:"spec"`
		}
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.Unmarshal(b, &review) != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		status := map[string]any{"authenticated": false, "error": "unknown token"}
		if review.Spec.Token == good {
			status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{
				"username": "system:serviceaccount:team:app", "uid": "uid-app", "groups": []string{"system:serviceaccounts", "system:serviceaccounts:team"},
			}}
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
	})
	v.Write(t, "auth/kubernetes/config", map[string]any{"kubernetes_host": cluster, "token_reviewer_jwt": account("reviewer"), "disable_local_ca_jwt": true})
	v.Write(t, "auth/kubernetes/role/app", map[string]any{
		"bound_service_account_names": "app", "bound_service_account_namespaces": "team", "audience": "vault", "token_policies": "app",
	})
	file := filepath.Join(t.TempDir(), "token")
	authtest.WriteFile(t, file, good+"\n")
	settings := map[string]any{"role": "app", "token_path": file}
	_, got, stop := run(t, v, "kubernetes", settings, nil)
	if tok := got.next(t); !v.TokenAlive(t, tok.ID.Reveal()) {
		t.Error("the token does not live")
	}
	stop()
	authtest.WriteFile(t, file, stranger)
	var de *auth.DeniedError
	if err := fails(t, v, "kubernetes", settings); !errors.As(err, &de) {
		t.Errorf("a stranger's token: %v, want a DeniedError", err)
	}
}

// TestAWSPlugin: Vault's plugin sends our signed request to a loopback STS, which
// checks the signature with the SDK's own signer.
func TestAWSPlugin(t *testing.T) {
	v := plugged(t, "aws", "aws")
	good := awssdk.Credentials{AccessKeyID: "AKIDGOOD", SecretAccessKey: "secret/key+good", SessionToken: "session"}
	sts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		again, err := http.NewRequest(r.Method, "https://"+r.Host+"/", bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		again.ContentLength = -1
		for _, h := range []string{"Content-Type", "X-Vault-Aws-Iam-Server-Id"} {
			again.Header.Set(h, r.Header.Get(h))
		}
		at, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		sum := sha256.Sum256(body)
		err = v4.NewSigner().SignHTTP(context.Background(), good, again, hex.EncodeToString(sum[:]), "sts", "eu-central-1", at)
		if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:sts::123456789012:assumed-role/app/session</Arn><UserId>AROAX:session</UserId><Account>123456789012</Account>`+
			`</GetCallerIdentityResult></GetCallerIdentityResponse>`)
	})
	v.Write(t, "auth/aws/config/client", map[string]any{"sts_endpoint": sts, "sts_region": "eu-central-1", "iam_server_id_header_value": "vault.example.com"})
	v.Write(t, "auth/aws/role/app", map[string]any{
		"auth_type": "iam", "bound_iam_principal_arn": "arn:aws:iam::123456789012:role/app", "resolve_aws_unique_ids": false, "token_policies": "app",
	})
	settings := map[string]any{
		"type": "iam", "role": "app", "region": "eu-central-1", "header_value": "vault.example.com",
		"access_key": good.AccessKeyID, "secret_key": secret.NewText(good.SecretAccessKey), "session_token": secret.NewText(good.SessionToken),
	}
	_, got, stop := run(t, v, "aws", settings, nil)
	if tok := got.next(t); !v.TokenAlive(t, tok.ID.Reveal()) {
		t.Error("the token does not live")
	}
	stop()
	settings["secret_key"] = secret.NewText("another")
	var de *auth.DeniedError
	if err := fails(t, v, "aws", settings); !errors.As(err, &de) {
		t.Errorf("another key: %v, want a DeniedError", err)
	}
}
