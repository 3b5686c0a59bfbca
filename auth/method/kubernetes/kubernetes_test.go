package kubernetes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance keeps the token as a projected volume does: token is a link
// through ..data, and a new token is a swap of ..data.
func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		dir := t.TempDir()
		project(t, dir, "..one", "sa.token.one\n")
		if err := os.Symlink(filepath.Join("..data", "token"), filepath.Join(dir, "token")); err != nil {
			t.Skip(err)
		}
		m, err := New(Config{Role: "app", TokenPath: filepath.Join(dir, "token")})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("sa.token.one")
		return authtest.Subject{
			Method: m, Secrets: []string{"sa.token.one", "sa.token.two"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/kubernetes/login" || r.Body["role"] != "app" || r.Body["jwt"] != want.Get() || len(r.Body) != 2 {
					return errors.New("wrong request")
				}
				return nil
			},
			Rotate: func() { want.Set("sa.token.two"); project(t, dir, "..two", "sa.token.two") },
			Spoil:  func() { want.Set("another") },
		}
	})
}

func project(t *testing.T, dir, version, token string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	authtest.WriteFile(t, filepath.Join(dir, version, "token"), token)
	next := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(version, next); err != nil {
		t.Skip(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}
