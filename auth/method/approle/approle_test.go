package approle

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for name, keep := range map[string]bool{"keep file": true, "remove file": false} {
		t.Run(name, func(t *testing.T) {
			authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject { return subject(t, keep) })
		})
	}
}

func subject(t *testing.T, keep bool) authtest.Subject {
	dir := t.TempDir()
	role, id := filepath.Join(dir, "role"), filepath.Join(dir, "secret")
	authtest.WriteFile(t, role, "role-id-1\n")
	authtest.WriteFile(t, id, " secret-id-1\n")
	m, err := New(Config{RoleIDFile: role, SecretIDFile: id, KeepSecretIDFile: keep})
	if err != nil {
		t.Fatal(err)
	}
	want := authtest.NewValue("secret-id-1")
	return authtest.Subject{
		Method: m,
		Check: func(r authtest.Request) error {
			if r.Path != "auth/approle/login" || r.Body["role_id"] != "role-id-1" || r.Body["secret_id"] != want.Get() || len(r.Body) != 2 {
				return errors.New("wrong request")
			}
			return nil
		},
		Rotate:  func() { want.Set("secret-id-2"); authtest.WriteFile(t, id, "secret-id-2") },
		Spoil:   func() { want.Set("another") },
		Secrets: []string{"secret-id-1", "secret-id-2", "role-id-1"},
	}
}

// TestUnwrapsInTheNamespaceOfTheLogin: the lookup and the unwrapping go where the login goes.
func TestUnwrapsInTheNamespaceOfTheLogin(t *testing.T) {
	var seen []string
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, strings.TrimPrefix(r.URL.Path, "/v1/")+" in "+r.Header.Get("X-Vault-Namespace"))
		_, _ = io.WriteString(w, map[string]string{
			"/v1/sys/wrapping/lookup": `{"data":{"creation_path":"auth/approle/role/app/secret-id"}}`,
			"/v1/sys/wrapping/unwrap": `{"data":{"secret_id":"s"}}`, "/v1/auth/approle/login": `{"auth":{"client_token":"t"}}`,
		}[r.URL.Path])
	}))
	t.Cleanup(v.Close)
	path := filepath.Join(t.TempDir(), "wrapped")
	authtest.WriteFile(t, path, "hvs.wrapping-token-of-a-secret-id")
	m, err := New(Config{RoleID: "r", SecretIDFile: path, WrappingPath: "auth/approle/role/app/secret-id"})
	if err != nil {
		t.Fatal(err)
	}
	c := api.DefaultConfig()
	c.Address, c.HttpClient = v.URL, v.Client()
	client, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	client.SetNamespace("team/a")
	if _, err := m.Login(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if want := "sys/wrapping/lookup in team/a, sys/wrapping/unwrap in team/a, auth/approle/login in team/a"; strings.Join(seen, ", ") != want {
		t.Errorf("%v, want %s", seen, want)
	}
}

// TestSecretIDFileOutlivesAnOutage: the file goes when Vault has answered, not before: a process
// that ends while Vault is away would otherwise leave nothing to log in with.
func TestSecretIDFileOutlivesAnOutage(t *testing.T) {
	var answer func(w http.ResponseWriter, path string)
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r.URL.Path) }))
	t.Cleanup(v.Close)
	c := api.DefaultConfig()
	c.Address, c.HttpClient, c.MaxRetries = v.URL, v.Client(), 0
	client, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	client.SetMaxRetries(0)
	status := func(code int, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(code); _, _ = io.WriteString(w, body) }
	}
	unwrapping := func(w http.ResponseWriter, path string) {
		body := map[string]string{"/v1/sys/wrapping/lookup": `{"data":{"creation_path":"a/b"}}`, "/v1/sys/wrapping/unwrap": `{"data":{"secret_id":"s"}}`}[path]
		if body == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			body = `{"errors":["Vault is sealed"]}`
		}
		_, _ = io.WriteString(w, body)
	}
	const wrapping = "hvs.wrapping-token-of-a-secret-id"
	for name, test := range map[string]struct {
		answer        func(http.ResponseWriter, string)
		path, content string
		stays         bool
	}{
		"sealed":                   {status(503, `{"errors":["Vault is sealed"]}`), "", "id", true},
		"quota":                    {status(429, `{"errors":["rate limit"]}`), "", "id", true},
		"a proxy's refusal":        {status(403, "<html>no</html>"), "", "id", true},
		"denied":                   {status(400, `{"errors":["invalid secret id"]}`), "", "id", false},
		"good":                     {status(200, `{"auth":{"client_token":"t"}}`), "", "id", false},
		"wrapped, sealed":          {status(503, `{"errors":["Vault is sealed"]}`), "a/b", wrapping, true},
		"wrapped, not a wrapping":  {status(200, `{}`), "a/b", "id", true},
		"wrapped, spent":           {status(400, `{"errors":["wrapping token is not valid or does not exist"]}`), "a/b", wrapping, false},
		"unwrapped, then no login": {unwrapping, "a/b", wrapping, false},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		authtest.WriteFile(t, path, test.content)
		answer = test.answer
		m, err := New(Config{RoleID: "r", SecretIDFile: path, WrappingPath: test.path})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Login(t.Context(), client)
		if _, serr := os.Stat(path); (serr == nil) != test.stays {
			t.Errorf("%s: the file stays: %v, want %v (%v)", name, serr == nil, test.stays, err)
		}
	}
}
