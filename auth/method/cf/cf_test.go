package cf

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "instance.crt"), filepath.Join(dir, "instance.key")
		want := &authtest.Value{}
		renew := func(name string) {
			cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: name})
			authtest.WriteFile(t, keyFile, key)
			authtest.WriteFile(t, certFile, cert)
			want.Set(name)
		}
		renew("one")
		m, err := New(Config{Role: "app", CertFile: certFile, KeyFile: keyFile})
		if err != nil {
			t.Fatal(err)
		}
		_, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
		return authtest.Subject{
			Method: m, Secrets: []string{key[100:200]},
			Check:  func(r authtest.Request) error { return verify(r, want.Get()) },
			Rotate: func() { renew("two") },
			Spoil:  func() { want.Set("another") },
		}
	})
}

// verify does what Vault's plugin says it does.
func verify(r authtest.Request, name string) error {
	text := func(k string) string { s, _ := r.Body[k].(string); return s }
	block, _ := pem.Decode([]byte(text("cf_instance_cert")))
	if r.Path != "auth/cf/login" || len(r.Body) != 4 || text("role") != "app" || block == nil {
		return errors.New("wrong request")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.Subject.CommonName != name {
		return errors.New("wrong certificate")
	}
	at, err := time.Parse("2006-01-02T15:04:05Z", text("signing_time"))
	if err != nil || time.Since(at).Abs() > time.Minute {
		return errors.New("wrong signing time")
	}
	encoded, ok := strings.CutPrefix(text("signature"), "v1:")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return errors.New("wrong signature version")
	}
	sum := sha256.Sum256([]byte(text("signing_time") + text("cf_instance_cert") + text("role")))
	public, _ := cert.PublicKey.(*rsa.PublicKey)
	return rsa.VerifyPSS(public, crypto.SHA256, sum[:], signature, nil)
}
