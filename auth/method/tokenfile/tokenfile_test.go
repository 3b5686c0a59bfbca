package tokenfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		path := filepath.Join(t.TempDir(), "token")
		authtest.WriteFile(t, path, "hvs.first\n")
		m, err := New(Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := os.Stat(path); err != nil {
				t.Error("the token file is gone")
			}
		})
		want := authtest.NewValue("hvs.first")
		return authtest.Subject{
			Method: m, Given: true, Secrets: []string{"hvs.first", "hvs.second"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/token/lookup-self" || r.Token != want.Get() {
					return errors.New("wrong request")
				}
				return nil
			},
			Rotate: func() { want.Set("hvs.second"); authtest.WriteFile(t, path, "hvs.second") },
			Spoil:  func() { want.Set("another") },
		}
	})
}
