package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, v *authtest.Vault) authtest.Subject {
		dir := t.TempDir()
		ca, certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		authtest.WriteFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Server.Certificate().Raw})))
		want := &authtest.Value{}
		renew := func(name string) {
			cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: name})
			authtest.WriteFile(t, keyFile, key)
			authtest.WriteFile(t, certFile, cert)
			want.Set(name)
		}
		renew("one")
		m, err := New(Config{Name: "web", CACert: ca, ClientCert: certFile, ClientKey: keyFile})
		if err != nil {
			t.Fatal(err)
		}
		_, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
		return authtest.Subject{
			Method: m, Secrets: []string{key[100:200]},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/cert/login" || r.Body["name"] != "web" || len(r.Body) != 1 || r.ClientName != want.Get() {
					return errors.New("wrong request by " + r.ClientName)
				}
				return nil
			},
			Rotate: func() { renew("two") },
			Spoil:  func() { want.Set("another") },
		}
	}, authtest.TLS())
}

func TestFingerprintWaitsForAMatchingPair(t *testing.T) {
	dir := t.TempDir()
	c := Config{ClientCert: filepath.Join(dir, "cert"), ClientKey: filepath.Join(dir, "key")}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := m.Fingerprint(t.Context()); p != "" || err != nil {
		t.Errorf("absent files have fingerprint %q, %v", p, err)
	}
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
	authtest.WriteFile(t, c.ClientCert, cert)
	authtest.WriteFile(t, c.ClientKey, "not yet")
	if p, _ := m.Fingerprint(t.Context()); p != "" {
		t.Error("a pair that does not match counts as credentials")
	}
	authtest.WriteFile(t, c.ClientKey, key)
	if p, _ := m.Fingerprint(t.Context()); p == "" {
		t.Error("a matching pair does not")
	}
}

// TestLoginHasAConnectionOfItsOwn: a connection of the client's, made without
// our certificate, must not carry the login.
func TestLoginHasAConnectionOfItsOwn(t *testing.T) {
	seen := make(chan int, 9)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- len(r.TLS.PeerCertificates)
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	server.EnableHTTP2, server.TLS = true, &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	authtest.WriteFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	cfg := api.DefaultConfig()
	cfg.Address, cfg.AgentAddress, cfg.MaxRetries = server.URL, "", 0
	if err := cfg.ConfigureTLS(&api.TLSConfig{CACert: ca}); err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.HttpClient.CloseIdleConnections)
	if _, err := client.Logical().Read("warm/up"); err != nil || <-seen != 0 {
		t.Fatalf("warm up: %v", err)
	}
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
	c := Config{CACert: ca, ClientCert: filepath.Join(dir, "cert"), ClientKey: filepath.Join(dir, "key")}
	authtest.WriteFile(t, c.ClientCert, cert)
	authtest.WriteFile(t, c.ClientKey, key)
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Login(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if n := <-seen; n != 1 {
		t.Errorf("the login showed %d certificates, want 1", n)
	}
}

// TestLoginByTheClientsCertificate: without files of its own the method uses the client's,
// but never a connection that was made with the certificate of yesterday.
func TestLoginByTheClientsCertificate(t *testing.T) {
	seen := make(chan string, 9)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.TLS.PeerCertificates[0].Subject.CommonName + " " + r.Proto
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	server.EnableHTTP2, server.TLS = true, &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	name := "yesterday"
	transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: name})
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: &tls.Config{
			InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}, //nolint:gosec // a test's own server
		}}).DialContext(ctx, network, addr)
	}}
	cfg := api.DefaultConfig()
	cfg.Address, cfg.AgentAddress, cfg.MaxRetries, cfg.HttpClient = server.URL, "", 0, &http.Client{Transport: transport}
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	m, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name = range []string{"yesterday", "today"} {
		if name == "yesterday" {
			_, err = client.Logical().Read("warm/up")
		} else {
			_, err = m.Login(t.Context(), client)
		}
		if got := <-seen; err != nil || got != name+" HTTP/2.0" {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestTheServersCAIsReadAnew: with a certificate of its own but no CA, the login trusts what
// the client's CA file holds by now, not what it held when the client was made.
func TestTheServersCAIsReadAnew(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{})
	c := Config{ClientCert: filepath.Join(dir, "cert"), ClientKey: filepath.Join(dir, "key")}
	authtest.WriteFile(t, c.ClientCert, cert)
	authtest.WriteFile(t, c.ClientKey, key)
	ca := x509.NewCertPool() // that of yesterday
	c.TLS = func() (*tls.Config, error) { return &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12}, nil }
	cfg := api.DefaultConfig()
	cfg.Address, cfg.AgentAddress, cfg.MaxRetries = server.URL, "", 0
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := m.Login(t.Context(), client); !errors.As(err, &unknown) {
		t.Errorf("a server no CA of ours has signed: %v", err)
	}
	ca = x509.NewCertPool()
	ca.AddCert(server.Certificate())
	if _, err := m.Login(t.Context(), client); err != nil {
		t.Errorf("after the CA was renewed: %v", err)
	}
}
