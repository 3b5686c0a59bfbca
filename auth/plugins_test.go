//go:build integration

package auth_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/vaulttest"
)

// TestPlugins has Vault's own plugins judge our logins, with the services they ask on loopback.
func TestPlugins(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.WithLoginPlugins(t))
	v.Policy(t, "app", `path "secret/*" { capabilities = ["read"] }`)
	c := newCloud(t)
	for _, test := range []struct {
		kind string
		run  func(*testing.T, *vaulttest.Server, *cloud)
	}{
		{"alicloud", alicloudPlugin}, {"aws", awsPlugin}, {"azure", azurePlugin}, {"cf", cfPlugin}, {"gcp", gcpPlugin},
		{"kerberos", kerberosPlugin}, {"kubernetes", kubernetesPlugin}, {"ldap", ldapPlugin}, {"oci", ociPlugin},
	} {
		t.Run(test.kind, func(t *testing.T) {
			v.LoginPlugin(t, test.kind, c.env()...)
			test.run(t, v, c)
		})
	}
}

// accepted: the plugin gives a token, and another one at the next login.
func accepted(t *testing.T, v *vaulttest.Server, kind string, m auth.Method) {
	t.Helper()
	s, got, stop := runMethod(t, v, kind, m, nil)
	first := got.next(t)
	s.Invalid(first)
	if second := got.next(t); !v.TokenAlive(t, second.ID.Reveal()) || second.ID.Equal(first.ID) {
		t.Errorf("%s: the second login's token does not live", kind)
	}
	stop()
}

// refused: the plugin gives none, and the session does not try again.
func refused(t *testing.T, v *vaulttest.Server, kind string, m auth.Method) {
	t.Helper()
	var de *auth.DeniedError
	if err := failsMethod(t, v, kind, m); !errors.As(err, &de) || de.Status == 0 {
		t.Errorf("%s with credentials of another: %v, want a DeniedError by Vault", kind, err)
	}
}

// kubernetesPlugin asks a TokenReview endpoint that knows one token.
func kubernetesPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
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
	good := account("app")
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
	settings := map[string]any{"role": "app", "token_path": file}
	authtest.WriteFile(t, file, good+"\n")
	accepted(t, v, "kubernetes", byName(t, "kubernetes", settings, nil))
	authtest.WriteFile(t, file, account("stranger"))
	refused(t, v, "kubernetes", byName(t, "kubernetes", settings, nil))
}
