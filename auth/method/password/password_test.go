package password

import (
	"errors"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		path := filepath.Join(t.TempDir(), "password")
		authtest.WriteFile(t, path, " leading space\r\n") // only the line end goes
		m, err := New(Config{MountPath: "auth/ldap", Username: "grace hopper", PasswordFile: path})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue(" leading space")
		return authtest.Subject{
			Method: m, Secrets: []string{"leading space", "second password"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/ldap/login/grace hopper" || r.Body["password"] != want.Get() || len(r.Body) != 1 {
					return errors.New("wrong request")
				}
				return nil
			},
			Rotate: func() { want.Set("second password"); authtest.WriteFile(t, path, "second password\n") },
			Spoil:  func() { want.Set("another") },
		}
	})
}
