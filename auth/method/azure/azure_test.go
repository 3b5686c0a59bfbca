package azure

import (
	"crypto/sha1" //nolint:gosec // x5t is defined so
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

// metadata answers as the instance metadata service does.
func metadata(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Header.Get("Metadata") != "true" || q.Get("api-version") != "2018-02-01":
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/metadata/instance":
			_, _ = io.WriteString(w, `{"compute":{"name":"vm","vmScaleSetName":"","resourceGroupName":"rg","subscriptionId":"sub"}}`)
		case r.URL.Path == "/metadata/identity/oauth2/token" && q.Get("resource") == "https://vault" && q.Get("client_id") == "id":
			_, _ = io.WriteString(w, `{"access_token":"eyJ.machine.sig"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		m, err := New(Config{Role: "app", Resource: "https://vault", ClientID: "id", Metadata: metadata(t)})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("eyJ.machine.sig")
		return authtest.Subject{
			Method: m, Secrets: []string{"eyJ.machine.sig"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/azure/login" || r.Body["role"] != "app" || r.Body["jwt"] != want.Get() || r.Body["vm_name"] != "vm" ||
					r.Body["vmss_name"] != "" || r.Body["resource_group_name"] != "rg" || r.Body["subscription_id"] != "sub" || len(r.Body) != 6 {
					return errors.New("wrong request")
				}
				return nil
			},
			Spoil: func() { want.Set("another") },
		}
	})
}

// TestEnvironment: every identity of the environment, with no virtual machine around.
func TestEnvironment(t *testing.T) {
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "app"})
	dir := t.TempDir()
	bundle, federated := filepath.Join(dir, "app.pem"), filepath.Join(dir, "token")
	authtest.WriteFile(t, bundle, key+cert)
	authtest.WriteFile(t, federated, "eyJ.federated.sig\n")
	authority := httptest.NewServer(nil)
	t.Cleanup(authority.Close)
	authority.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		f := r.Form
		switch {
		case r.URL.Path == "/msi" && r.Header.Get("X-Identity-Header") == "hdr" && f.Get("resource") == "https://vault":
			_, _ = io.WriteString(w, `{"access_token":"service"}`)
		case r.URL.Path != "/tenant/oauth2/v2.0/token" || f.Get("client_id") != "client" || f.Get("scope") != "https://vault/.default" || f.Get("grant_type") != "client_credentials":
			w.WriteHeader(http.StatusBadRequest)
		case f.Get("client_secret") == "client-secret":
			_, _ = io.WriteString(w, `{"access_token":"secret"}`)
		case f.Get("client_assertion") == "eyJ.federated.sig":
			_, _ = io.WriteString(w, `{"access_token":"federated"}`)
		case assertion(f.Get("client_assertion"), cert, authority.URL+r.URL.Path) == nil:
			_, _ = io.WriteString(w, `{"access_token":"certificate"}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	var sent map[string]any
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = nil
		_ = json.NewDecoder(r.Body).Decode(&sent)
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	t.Cleanup(vault.Close)
	c := api.DefaultConfig()
	c.Address, c.HttpClient = vault.URL, vault.Client()
	client, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	for want, more := range map[string]map[string]string{
		"secret":      {"AZURE_CLIENT_SECRET": "client-secret"},
		"certificate": {"AZURE_CLIENT_CERTIFICATE_PATH": bundle},
		"federated":   {"AZURE_FEDERATED_TOKEN_FILE": federated},
		"service":     {"IDENTITY_ENDPOINT": authority.URL + "/msi", "IDENTITY_HEADER": "hdr"},
	} {
		more["AZURE_TENANT_ID"], more["AZURE_CLIENT_ID"], more["AZURE_AUTHORITY_HOST"] = "tenant", "client", authority.URL
		m, err := New(Config{Role: "app", Resource: "https://vault", FromEnvironment: true, Env: env(more), Metadata: "http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.environmentToken(t.Context()); got != want || err != nil {
			t.Errorf("%s: token %q, %v", want, got, err)
		}
		if _, err := m.Login(t.Context(), client); err != nil || sent["jwt"] != want || sent["vm_name"] != nil && sent["vm_name"] != "" {
			t.Errorf("%s: logged in with %v, %v", want, sent, err)
		}
	}
}

// assertion verifies a client assertion with go-jose.
func assertion(text, cert, audience string) error {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := token.Claims(&authtest.Key().PublicKey, &claims); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(cert))
	sum := sha1.Sum(block.Bytes) //nolint:gosec // as above
	if token.Headers[0].ExtraHeaders["x5t"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return errors.New("wrong x5t")
	}
	return claims.Validate(jwt.Expected{Issuer: "client", Subject: "client", AnyAudience: jwt.Audience{audience}})
}

func TestConfigIsChecked(t *testing.T) {
	for name, m := range map[string]map[string]any{
		"no role":     {"resource": "x"},
		"no resource": {"role": "x"},
		"two ids":     {"role": "x", "resource": "x", "object_id": "a", "client_id": "b"},
		"bad boolean": {"role": "x", "resource": "x", "authenticate_from_environment": "perhaps"},
	} {
		c, err := FromMap(m)
		if err == nil {
			_, err = New(c)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if c, err := FromMap(map[string]any{"role": "x", "resource": "y", "authenticate_from_environment": "true"}); err != nil || !c.FromEnvironment {
		t.Errorf("a boolean in quotes: %v, %v", c.FromEnvironment, err)
	}
}
