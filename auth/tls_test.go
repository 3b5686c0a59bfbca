package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/internal/vaulttest"
)

// certificates writes a pair for name, with a key of its own, to cert.pem and key.pem in dir.
func certificates(t *testing.T, dir, name string) (cert string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert, private := authtest.Certificate(t, key, pkix.Name{CommonName: name})
	// The key first: in between the pair does not match and counts as none.
	authtest.WriteFile(t, filepath.Join(dir, "key.pem"), private)
	authtest.WriteFile(t, filepath.Join(dir, "cert.pem"), cert)
	return cert
}

// TestCertificate logs in over real TLS: a good certificate, one renewed on disk
// while the session runs, and one Vault does not know.
func TestCertificate(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.TLS())
	v.Policy(t, "app", `path "secret/*" { capabilities = ["read"] }`)
	v.Write(t, "sys/auth/cert", map[string]any{"type": "cert"})
	dir, next := t.TempDir(), t.TempDir()
	// Vault knows the next certificate before we have it, as in a rotation.
	for role, cert := range map[string]string{"one": certificates(t, dir, "one"), "two": certificates(t, next, "two")} {
		v.Write(t, "auth/cert/certs/"+role, map[string]any{"display_name": role, "certificate": cert, "token_policies": "app"})
	}
	settings := map[string]any{"client_cert": filepath.Join(dir, "cert.pem"), "client_key": filepath.Join(dir, "key.pem"), "ca_cert": v.CACert}
	_, got, stop := run(t, v, "cert", settings, func(c *auth.Config) { c.Reauth = true })
	if name := displayName(t, v, got.next(t).ID.Reveal()); name != "cert-one" {
		t.Errorf("the first login is %q", name)
	}
	for _, file := range []string{"key.pem", "cert.pem"} {
		b, err := os.ReadFile(filepath.Join(next, file))
		if err != nil {
			t.Fatal(err)
		}
		authtest.WriteFile(t, filepath.Join(dir, file), string(b))
	}
	if name := displayName(t, v, got.next(t).ID.Reveal()); name != "cert-two" {
		t.Errorf("the login after the renewal is %q", name)
	}
	stop()

	certificates(t, dir, "stranger")
	var de *auth.DeniedError
	if err := fails(t, v, "cert", settings); !errors.As(err, &de) || de.Status == 0 {
		t.Errorf("an unknown certificate: %v, want a DeniedError by Vault", err)
	}
	settings["ca_cert"] = filepath.Join(dir, "cert.pem")
	m, err := all.New("cert", settings, all.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := m.Login(t.Context(), v.ClientFor(t, "")); !errors.As(err, &unknown) {
		t.Errorf("a server our CA did not sign: %v", err)
	}
}

func displayName(t *testing.T, v *vaulttest.Server, token string) string {
	t.Helper()
	s, err := v.ClientFor(t, token).Auth().Token().LookupSelf()
	if err != nil {
		t.Fatal(err)
	}
	name, _ := s.Data["display_name"].(string)
	return name
}
