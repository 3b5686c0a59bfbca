//go:build integration

package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/internal/vaulttest"
)

const (
	cfApp   = "2d3e834a-3a25-4591-974c-fa5626d5d0a1"
	cfSpace = "3d2eba6b-ef19-44d5-91dd-1975b0db5cc9"
	cfOrg   = "34a878d0-c2f9-4521-ba73-a9f664e82c7b"
)

// foundry is a platform's authority for instance certificates.
type foundry struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newFoundry(t *testing.T) *foundry {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &foundry{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "instanceIdentityCA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if f.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	f.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return f
}

// instance writes the files an instance of the application finds: certificate with its authority's, and key.
func (f *foundry) instance(t *testing.T, dir string) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject:     pkix.Name{CommonName: "f9c7cd7d-1612-4f57-63a8-f995", OrganizationalUnit: []string{"organization:" + cfOrg, "space:" + cfSpace, "app:" + cfApp}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, f.cert, &key.PublicKey, f.key)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CF_INSTANCE_CERT": filepath.Join(dir, "instance.crt"), "CF_INSTANCE_KEY": filepath.Join(dir, "instance.key")}
	authtest.WriteFile(t, env["CF_INSTANCE_CERT"], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+f.pem)
	authtest.WriteFile(t, env["CF_INSTANCE_KEY"], string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	return env
}

// cfPlugin verifies our signature and the certificate, and asks the platform's API for application, space and organization.
func cfPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
	var address string
	address = serve(t, func(w http.ResponseWriter, r *http.Request) {
		object := func(entity map[string]any) {
			answerJSON(w, map[string]any{"metadata": map[string]any{"guid": path.Base(r.URL.Path)}, "entity": entity})
		}
		switch path.Base(r.URL.Path) {
		case "info":
			answerJSON(w, map[string]any{"authorization_endpoint": address, "token_endpoint": address, "api_version": "2.133.0"})
		case "token":
			answerJSON(w, map[string]any{"access_token": "plugin", "token_type": "bearer", "expires_in": 599})
		case cfApp:
			object(map[string]any{"name": "app", "space_guid": cfSpace, "instances": 1})
		case cfSpace:
			object(map[string]any{"name": "space", "organization_guid": cfOrg})
		case cfOrg:
			object(map[string]any{"name": "org"})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	ours, others := newFoundry(t), newFoundry(t)
	v.Write(t, "auth/cf/config", map[string]any{"identity_ca_certificates": []string{ours.pem}, "cf_api_addr": address, "cf_username": "plugin", "cf_password": "plugin"})
	v.Write(t, "auth/cf/roles/app", map[string]any{"bound_application_ids": cfApp, "bound_space_ids": cfSpace, "bound_organization_ids": cfOrg, "token_policies": "app"})
	settings := map[string]any{"role": "app"}
	accepted(t, v, "cf", byName(t, "cf", settings, ours.instance(t, t.TempDir())))
	refused(t, v, "cf", byName(t, "cf", settings, others.instance(t, t.TempDir())))
}
