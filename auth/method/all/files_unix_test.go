//go:build unix

package all

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/auth/method"
)

// TestOddFiles: a pipe without a writer, a directory, an empty or an endless file where a
// credential should be is an error of that credential at once, whatever the method.
func TestOddFiles(t *testing.T) {
	odd := map[string]string{"empty": filepath.Join(t.TempDir(), "empty"), "directory": t.TempDir(), "endless": "/dev/zero"}
	for name, build := range map[string]func(path string) error{
		"pipe":  func(path string) error { return unix.Mkfifo(path, 0o600) },
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"huge": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		odd[name] = filepath.Join(t.TempDir(), name)
		if err := build(odd[name]); err != nil {
			t.Fatal(err)
		}
	}
	type m = map[string]any
	good := filepath.Join(t.TempDir(), "good")
	if err := os.WriteFile(good, []byte("[DEFAULT]\nregion=eu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient(&api.Config{Address: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	client.SetMaxRetries(0)
	kerberos := func(keytab, conf string) m {
		return m{"username": "u", "service": "s", "realm": "r", "keytab_path": keytab, "krb5conf_path": conf}
	}
	for what, path := range odd {
		oci := filepath.Join(t.TempDir(), "oci")
		if err := os.WriteFile(oci, []byte("[DEFAULT]\ntenancy=t\nuser=u\nfingerprint=f\nkey_file="+path+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{
			"CF_INSTANCE_CERT": path, "CF_INSTANCE_KEY": path, "GOOGLE_APPLICATION_CREDENTIALS": path, "OCI_CONFIG_FILE": oci, "AWS_SHARED_CREDENTIALS_FILE": path, "AWS_EC2_METADATA_DISABLED": "true",
			"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_CERTIFICATE_PATH": path, "HOME": t.TempDir(),
		}
		for _, test := range []struct {
			name     string
			settings m
		}{
			{"approle", m{"role_id_file_path": path}},
			{"approle", m{"role_id": "r", "secret_id_file_path": path}},
			{"aws", m{"type": "iam", "role": "r"}},
			{"azure", m{"role": "r", "resource": "x", "authenticate_from_environment": true}},
			{"cert", m{"client_cert": path, "client_key": path}},
			{"cert", m{"ca_cert": path}},
			{"cf", m{"role": "r"}},
			{"gcp", m{"type": "iam", "role": "r"}},
			{"jwt", m{"path": path, "role": "r"}},
			{"kerberos", kerberos(path, good)},
			{"kubernetes", m{"role": "r", "token_path": path}},
			{"ldap", m{"username": "u", "password_file_path": path}},
			{"oci", m{"type": "apikey", "role": "r"}},
			{"token_file", m{"token_file_path": path}},
			{"userpass", m{"username": "u", "password_file_path": path}},
		} {
			made, err := New(test.name, test.settings, Options{Env: func(name string) string { return env[name] }})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, _ = made.(method.Credentials).Fingerprint(t.Context()) //nolint:forcetypeassert // each is one
				_, err := made.Login(t.Context(), client)
				done <- err
			}()
			var ce *method.CredentialError
			select {
			case err := <-done:
				if !errors.As(err, &ce) {
					t.Errorf("%s, %v: %s: %v, want a CredentialError", test.name, test.settings, what, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("%s: %s: the login waits for it", test.name, what)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Fatalf("%s: %s: %v", test.name, what, err)
			}
		}
	}
}
