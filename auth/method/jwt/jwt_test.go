package jwt

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(want *authtest.Value) func(authtest.Request) error {
	return func(r authtest.Request) error {
		if r.Path != "auth/jwt/login" || r.Body["role"] != "ci" || r.Body["jwt"] != want.Get() || len(r.Body) != 2 {
			return errors.New("wrong request")
		}
		return nil
	}
}

func TestConformance(t *testing.T) {
	for name, keep := range map[string]bool{"keep file": true, "remove file": false} {
		t.Run(name, func(t *testing.T) {
			authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
				path := filepath.Join(t.TempDir(), "jwt")
				authtest.WriteFile(t, path, "eyJ.one.sig\n")
				m, err := New(Config{Role: "ci", Path: path, KeepFile: keep})
				if err != nil {
					t.Fatal(err)
				}
				want := authtest.NewValue("eyJ.one.sig")
				return authtest.Subject{
					Method: m, Check: check(want), Secrets: []string{"eyJ.one.sig", "eyJ.two.sig"},
					Rotate: func() { want.Set("eyJ.two.sig"); authtest.WriteFile(t, path, "eyJ.two.sig") },
					Spoil:  func() { want.Set("another") },
				}
			})
		})
	}
}

// TestGitHubConformance asks a server that answers as the Actions token service does.
func TestGitHubConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "bearer job-token" || r.URL.Query().Get("audience") != "https://vault" || r.URL.Query().Get("v") != "2" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write([]byte(`{"count":1,"value":"eyJ.github.sig"}`))
		}))
		t.Cleanup(service.Close)
		m, err := New(Config{Role: "ci", GitHub: &GitHub{RequestURL: service.URL + "/token?v=2", RequestToken: secret.NewText("job-token"), Audience: "https://vault"}})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("eyJ.github.sig")
		return authtest.Subject{
			Method: m, Check: check(want), Secrets: []string{"eyJ.github.sig", "job-token"},
			Spoil: func() { want.Set("another") },
		}
	})
}

func TestSources(t *testing.T) {
	env := func(name string) string { return map[string]string{"VAULT_ID_TOKEN": "eyJ.gitlab.sig"}[name] }
	c, err := FromGitLab(map[string]any{"role": "ci"}, env)
	if err != nil || c.Token.Reveal() != "eyJ.gitlab.sig" {
		t.Errorf("gitlab: %v", err)
	}
	if _, err := FromGitLab(map[string]any{"role": "ci", "token_variable": "OTHER"}, env); err == nil {
		t.Error("gitlab: an absent variable passes")
	}
	if _, err := FromGitHub(map[string]any{"role": "ci"}, env); err == nil {
		t.Error("github: an absent permission passes")
	}
	for name, c := range map[string]Config{"none": {}, "two": {Path: "x", Token: secret.NewText("y")}, "no url": {GitHub: &GitHub{RequestURL: "/x"}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestGitHubRefusal: a job token GitHub does not take (any more) ends the job at once; an outage does not.
func TestGitHubRefusal(t *testing.T) {
	for status, denied := range map[int]bool{401: true, 403: true, 404: true, 429: false, 500: false, 503: false} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		m, err := New(Config{Role: "ci", GitHub: &GitHub{RequestURL: service.URL, RequestToken: secret.NewText("job-token")}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Login(t.Context(), nil)
		service.Close()
		var ce *method.CredentialError
		if err == nil || errors.As(err, &ce) != denied {
			t.Errorf("status %d: %v, want denied %v", status, err, denied)
		}
	}
}
