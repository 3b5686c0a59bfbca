package main

import (
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// TestConnectionsOfTheirOwn: what disable_idle_connections and disable_keep_alives
// name has a client of its own, everybody else shares one.
func TestConnectionsOfTheirOwn(t *testing.T) {
	v := &vaultSide{cfg: &config.Config{Vault: config.Vault{
		Address: "http://127.0.0.1:1", DisableIdle: []string{"auto-auth"}, DisableKeepAlives: []string{"proxying"},
	}}}
	var err error
	if v.client, err = newClient(v.cfg.Vault, environ.Environ{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		features          []string
		own, idle, closes bool
	}{
		{features: []string{"templating"}, idle: true},
		{features: []string{"auto-auth"}, own: true},
		{features: []string{"caching", "proxying"}, own: true, idle: true, closes: true},
	} {
		client, err := v.clientFor(environ.Environ{}, tc.features...)
		if err != nil {
			t.Fatal(err)
		}
		transport := client.CloneConfig().HttpClient.Transport.(*http.Transport)
		if (client != v.client) != tc.own || (transport.MaxIdleConnsPerHost >= 0) != tc.idle || transport.DisableKeepAlives != tc.closes {
			t.Errorf("%v: own %v, idle %d, closes %v", tc.features, client != v.client, transport.MaxIdleConnsPerHost, transport.DisableKeepAlives)
		}
	}
}

// TestCertificateLoginTrustsTheCAOfToday: a login by a certificate of its own uses the vault
// stanza's CA as the file is then.
func TestCertificateLoginTrustsTheCAOfToday(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "app"})
	for name, text := range map[string]string{"ca": cert, "cert": cert, "key": key} {
		place(t, dir, name, text)
	}
	vault := config.Vault{Address: server.URL, CACert: filepath.Join(dir, "ca")}
	client, err := newClient(vault, environ.Environ{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMethod(config.Login{Method: "cert", Settings: map[string]any{
		"client_cert": filepath.Join(dir, "cert"), "client_key": filepath.Join(dir, "key"),
	}}, vault, environ.Environ{}, silent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Login(t.Context(), client); err == nil {
		t.Error("logged in to a server that yesterday's CA has not signed")
	}
	place(t, dir, "ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	if _, err := m.Login(t.Context(), client); err != nil {
		t.Errorf("after the CA was renewed: %v", err)
	}
}
