package approle

import (
	"errors"
	"path/filepath"
	"testing"

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
