package approle

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{true: "keep file", false: "remove file"}[keep], func(t *testing.T) {
			authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject { return subject(t, keep) })
		})
	}
}

func subject(t *testing.T, keep bool) authtest.Subject {
	dir := t.TempDir()
	role, id := filepath.Join(dir, "role"), filepath.Join(dir, "secret")
	write(t, role, "role-id-1\n")
	write(t, id, " secret-id-1\n")
	m, err := New(Config{RoleIDFile: role, SecretIDFile: id, KeepSecretIDFile: keep})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	want := "secret-id-1"
	return authtest.Subject{
		Method: m,
		Check: func(r authtest.Request) error {
			mu.Lock()
			defer mu.Unlock()
			if r.Path != "auth/approle/login" || r.Body["role_id"] != "role-id-1" || r.Body["secret_id"] != want || len(r.Body) != 2 {
				return errors.New("wrong request")
			}
			return nil
		},
		Rotate: func() {
			mu.Lock()
			want = "secret-id-2"
			mu.Unlock()
			write(t, id, "secret-id-2")
		},
		Spoil: func() {
			mu.Lock()
			defer mu.Unlock()
			want = "another"
		},
		Secrets: []string{"secret-id-1", "secret-id-2", "role-id-1"},
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}
