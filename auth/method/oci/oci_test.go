package oci

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, v *authtest.Vault) authtest.Subject {
		home := t.TempDir()
		_, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
		authtest.WriteFile(t, filepath.Join(home, "key.pem"), key)
		path := filepath.Join(home, "config")
		config := func(user string) string {
			return "[DEFAULT]\ntenancy=t\nuser = " + user + "\nfingerprint=aa:bb\nkey_file=~/key.pem\n[OTHER]\nuser=x\n"
		}
		authtest.WriteFile(t, path, config("one"))
		m, err := New(Config{Type: APIKey, Role: "App", Env: func(name string) string {
			return map[string]string{"HOME": home, "OCI_CONFIG_FILE": path}[name]
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("t/one/aa:bb")
		host := strings.TrimPrefix(v.Server.URL, "http://")
		return authtest.Subject{
			Method: m, Secrets: []string{key[100:200]},
			Check: func(r authtest.Request) error {
				header := map[string]string{}
				sent, _ := r.Body["request_headers"].(map[string]any)
				for k, list := range sent {
					values, _ := list.([]any)
					if len(values) != 1 {
						return errors.New("headers are not lists of one")
					}
					header[k], _ = values[0].(string)
				}
				if r.Path != "auth/oci/login/app" || header["(request-target)"] != "get /v1/auth/oci/login/app" || header["host"] != host {
					return errors.New("wrong request")
				}
				return authtest.OCISigned(header, want.Get(), &authtest.Key().PublicKey)
			},
			Rotate: func() { want.Set("t/two/aa:bb"); authtest.WriteFile(t, path, config("two")) },
			Spoil:  func() { want.Set("another") },
		}
	})
}

// TestInstance: the metadata's certificate is traded for a session token, which names the
// session key, when the last one has ended or was denied. Looking for changes trades nothing.
func TestInstance(t *testing.T) {
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{OrganizationalUnit: []string{"opc-certtype:instance", "opc-tenant:ocid1.tenancy"}})
	token := func(life time.Duration) string {
		return "h." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(life).Unix())) + ".s"
	}
	current := token(time.Hour)
	var session *rsa.PublicKey
	trades, status := 0, http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := map[string]string{
			"/opc/v2/identity/cert.pem": cert, "/opc/v2/identity/key.pem": key, "/opc/v2/identity/intermediate.pem": cert, "/opc/v2/instance/region": "fra",
		}[r.URL.Path]
		if ok && r.Header.Get("Authorization") == "Bearer Oracle" {
			_, _ = io.WriteString(w, answer)
			return
		}
		if r.URL.Path == "/v1/auth/oci/login/app" {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"errors":["denied"],"auth":{"client_token":"t"}}`)
			return
		}
		trades++
		body, _ := io.ReadAll(r.Body)
		sum := sha256.Sum256(body)
		header := map[string]string{"(request-target)": "post /v1/x509", "content-length": fmt.Sprint(len(body))}
		for _, name := range []string{"date", "content-type", "x-content-sha256", "authorization"} {
			header[name] = r.Header.Get(name)
		}
		block, _ := pem.Decode([]byte(cert))
		id := "ocid1.tenancy/fed-x509-sha256/" + fingerprint(block.Bytes)
		var sent struct{ PublicKey []byte }
		if r.URL.Path != "/v1/x509" || header["x-content-sha256"] != base64.StdEncoding.EncodeToString(sum[:]) ||
			authtest.OCISigned(header, id, &authtest.Key().PublicKey) != nil || json.Unmarshal(body, &sent) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		public, _ := x509.ParsePKIXPublicKey(sent.PublicKey)
		session, _ = public.(*rsa.PublicKey)
		_, _ = io.WriteString(w, `{"token":"`+current+`"}`)
	}))
	t.Cleanup(s.Close)
	m, err := New(Config{Type: Instance, Role: "app", metadata: s.URL + "/opc/v2", federation: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.signer(t.Context())
	if err != nil || got.id != "ST$"+current || !got.key.PublicKey.Equal(session) {
		t.Fatalf("signer %q, %v", got.id, err)
	}
	client, err := api.NewClient(&api.Config{Address: s.URL, MaxRetries: 0})
	if err != nil {
		t.Fatal(err)
	}
	login := func(want int) {
		t.Helper()
		if _, err := m.Login(t.Context(), client); (err == nil) != (status == http.StatusOK) {
			t.Error(err)
		}
		first, err := m.Fingerprint(t.Context())
		if second, _ := m.Fingerprint(t.Context()); err != nil || first == "" || first != second {
			t.Errorf("fingerprints %q and %q, %v", first, second, err)
		}
		if trades != want {
			t.Errorf("%d sessions, want %d", trades, want)
		}
	}
	login(1)
	status = http.StatusInternalServerError
	login(1)
	status = http.StatusBadRequest
	login(1)
	status, current = http.StatusOK, token(4*time.Minute) // which is as good as over
	login(2)
	login(3)
	if again, err := m.signer(t.Context()); err != nil || again.key != got.key {
		t.Error("the key was made more than once")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, m := range map[string]map[string]any{
		"no type": {"role": "x"}, "no role": {"type": "apikey"}, "wrong type": {"role": "x", "type": "user"},
		"zero poll": {"role": "x", "type": "apikey", "credential_poll_interval": 0},
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
