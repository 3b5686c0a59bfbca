package gcp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/x509/pkix"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func accountKey(t *testing.T, email string) string {
	t.Helper()
	_, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
	b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": email, "private_key": key, "private_key_id": "kid-1"})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// verify checks a self-signed token with go-jose, by the rules of Vault's plugin.
func verify(token any, account string) error {
	text, _ := token.(string)
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return errors.New("the token does not parse")
	}
	var claims jwt.Claims
	if err := parsed.Claims(&authtest.Key().PublicKey, &claims); err != nil {
		return errors.New("the signature is wrong")
	}
	if parsed.Headers[0].KeyID != "kid-1" || claims.Issuer != "" {
		return errors.New("wrong key id or issuer")
	}
	if left := time.Until(claims.Expiry.Time()); left > 15*time.Minute || left < 14*time.Minute {
		return errors.New("wrong expiry")
	}
	return claims.Validate(jwt.Expected{Subject: account, AnyAudience: jwt.Audience{"http://vault/app"}})
}

func TestIAMConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		path := filepath.Join(t.TempDir(), "key.json")
		authtest.WriteFile(t, path, accountKey(t, "one@p.iam"))
		m, err := New(Config{Type: IAM, Role: "app", Env: env(map[string]string{"HOME": t.TempDir(), "GOOGLE_APPLICATION_CREDENTIALS": path})})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("one@p.iam")
		return authtest.Subject{
			Method: m, Secrets: []string{accountKey(t, "")[200:300]},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/gcp/login" || r.Body["role"] != "app" || len(r.Body) != 2 {
					return errors.New("wrong request")
				}
				return verify(r.Body["jwt"], want.Get())
			},
			Rotate: func() { want.Set("two@p.iam"); authtest.WriteFile(t, path, accountKey(t, "two@p.iam")) },
			Spoil:  func() { want.Set("another") },
		}
	})
}

func TestGCEConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, v *authtest.Vault) authtest.Subject {
		metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity" ||
				q.Get("audience") != v.Server.URL+"/vault/app" || q.Get("format") != "full" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, "eyJ.instance.sig")
		}))
		t.Cleanup(metadata.Close)
		m, err := New(Config{Type: GCE, Role: "app", Env: env(map[string]string{"GCE_METADATA_HOST": metadata.Listener.Addr().String()})})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("eyJ.instance.sig")
		return authtest.Subject{
			Method: m, Secrets: []string{"eyJ.instance.sig"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/gcp/login" || r.Body["role"] != "app" || r.Body["jwt"] != want.Get() {
					return errors.New("wrong request")
				}
				return nil
			},
			Spoil: func() { want.Set("another") },
		}
	})
}

// google answers as the token endpoint, the IAM credentials API and a workload pool do.
func google(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		switch {
		case r.URL.Path == "/token" && r.Form.Get("refresh_token") == "refresh":
			_, _ = io.WriteString(w, `{"access_token":"user"}`)
		case r.URL.Path == "/token" && r.Form.Get("subject_token") == "subject" && r.Form.Get("audience") == "//pool":
			_, _ = io.WriteString(w, `{"access_token":"federated"}`)
		case r.URL.Path == "/token" && strings.HasPrefix(r.Form.Get("assertion"), "eyJ"):
			_, _ = io.WriteString(w, `{"access_token":"key"}`)
		case r.URL.Path == "/impersonate" && r.Header.Get("Authorization") == "Bearer federated":
			_, _ = io.WriteString(w, `{"accessToken":"impersonated"}`)
		case r.URL.Path == "/v1/projects/-/serviceAccounts/sa@p.iam:signJwt":
			var body struct{ Payload string }
			_ = json.NewDecoder(r.Body).Decode(&body)
			_ = json.NewEncoder(w).Encode(map[string]string{"signedJwt": r.Header.Get("Authorization") + " " + body.Payload})
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCredentialTypes(t *testing.T) {
	s := google(t)
	subject := filepath.Join(t.TempDir(), "subject")
	authtest.WriteFile(t, subject, `{"token":"subject"}`)
	for want, credential := range map[string]string{
		"user":         `{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"refresh"}`,
		"key":          accountKey(t, "other@p.iam"),
		"impersonated": `{"type":"external_account","audience":"//pool","service_account_impersonation_url":"` + s.URL + `/impersonate","credential_source":{"file":"` + filepath.ToSlash(subject) + `","format":{"type":"json","subject_token_field_name":"token"}}}`,
	} {
		m, err := New(Config{Type: IAM, Role: "app", Credentials: secret.NewText(credential), ServiceAccount: "sa@p.iam", iamAPI: s.URL, token: s.URL + "/token"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.signedToken(t.Context())
		if err != nil || !strings.HasPrefix(got, "Bearer "+want+" ") || !strings.Contains(got, `"aud":"http://vault/app"`) || !strings.Contains(got, `"sub":"sa@p.iam"`) {
			t.Errorf("%s: signed by %q, %v", want, got, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, m := range map[string]map[string]any{
		"no type":     {"role": "app"},
		"wrong type":  {"role": "app", "type": "gke"},
		"no role":     {"type": "gce"},
		"unknown key": {"type": "gce", "role": "app", "servce_account": "x"},
	} {
		c, err := FromMap(m)
		if err == nil {
			_, err = New(c)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
