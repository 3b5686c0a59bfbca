package main

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
		{features: []string{"caching", "proxying"}, own: true, idle: true, closes: true}, // always its own
	} {
		client, err := v.clientFor(environ.Environ{}, tc.features...)
		if slices.Contains(tc.features, "proxying") {
			client, err = v.listenerClient(environ.Environ{})
		}
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

// TestTLSFilesOfToday: each new connection to Vault uses the CA and the certificate that
// the files hold then, straight and through a proxy.
func TestTLSFilesOfToday(t *testing.T) {
	for name, proxy := range map[string]bool{"straight": false, "through a proxy": true} {
		t.Run(name, func(t *testing.T) { tlsFilesOfToday(t, proxy) })
	}
}

func tlsFilesOfToday(t *testing.T, proxied bool) {
	seen := make(chan string, 8)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.TLS.PeerCertificates[0].Subject.CommonName
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, `{"auth":{"client_token":"t"}}`)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} //nolint:gosec // a test's
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	pair := func(name string) {
		cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: name})
		place(t, dir, "cert", cert)
		place(t, dir, "key", key)
	}
	pair("yesterday")
	ca, _ := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "another CA"})
	place(t, dir, "ca", ca)
	vault := config.Vault{
		Address: server.URL, CACert: filepath.Join(dir, "ca"), ClientCert: filepath.Join(dir, "cert"), ClientKey: filepath.Join(dir, "key"),
	}
	var tunnels atomic.Int64
	if proxied {
		vault.ProxyAddress = "http://user:hunter2@" + tunnelling(t, &tunnels)
	}
	client, err := newClient(vault, environ.Environ{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := newMethod(config.Login{Method: "cert", Settings: map[string]any{
		"client_cert": vault.ClientCert, "client_key": vault.ClientKey,
	}}, vault, environ.Environ{}, silent())
	if err != nil {
		t.Fatal(err)
	}
	read := func() error { _, err := client.Logical().ReadWithContext(t.Context(), "secret/a"); return err }
	if err := read(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a server that yesterday's CA has not signed: %v", err)
	}
	place(t, dir, "ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for _, name := range []string{"yesterday", "today"} {
		pair(name)
		if err := read(); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != name {
			t.Errorf("the client shows the certificate of %s, not of %s", got, name)
		}
		if _, err := own.Login(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != name {
			t.Errorf("the login shows the certificate of %s, not of %s", got, name)
		}
	}
	if proxied != (tunnels.Load() > 0) {
		t.Errorf("%d tunnels", tunnels.Load())
	}
}

// tunnelling is a proxy that knows CONNECT, for who has the password.
func tunnelling(t *testing.T, count *atomic.Int64) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dXNlcjpodW50ZXIy" {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		count.Add(1)
		to, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, conn); _ = to.Close() }()
		_, _ = io.Copy(conn, to)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestProxyRefuses: what the proxy says is told, the password is not.
func TestProxyRefuses(t *testing.T) {
	var count atomic.Int64
	client, err := newClient(config.Vault{Address: "https://vault.invalid:8200", ProxyAddress: "http://user:wr0ng@" + tunnelling(t, &count)}, environ.Environ{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Logical().ReadWithContext(t.Context(), "secret/a")
	if err == nil || !strings.Contains(err.Error(), "no way to vault.invalid:8200: 407 Proxy Authentication Required") || strings.Contains(err.Error(), "wr0ng") {
		t.Error(err)
	}
}

// TestListenersHaveConnectionsOfTheirOwn: what goes through a listener speaks HTTP/1.1 to
// Vault, one connection for each request under way, and is not held back by the bound
// that is for templates.
func TestListenersHaveConnectionsOfTheirOwn(t *testing.T) {
	const atOnce = 12
	var protocols sync.Map
	var there sync.WaitGroup
	there.Add(atOnce)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		protocols.Store(r.Proto, true)
		there.Done()
		there.Wait()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	place(t, dir, "ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	c := &config.Config{
		Vault:     config.Vault{Address: server.URL, CACert: filepath.Join(dir, "ca"), MaxConnections: 2},
		Listeners: []config.Listener{{Type: "tcp", TLSDisable: true, Address: "127.0.0.1:0"}},
	}
	v := &vaultSide{cfg: c, log: silent()}
	p, err := v.newProxy(c, environ.Environ{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := p.Addresses()[0]
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{}}
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			resp, err := client.Get(address + "/v1/x")
			if err != nil {
				t.Error(err)
				there.Done()
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("answered %s", resp.Status)
				there.Done()
			}
		})
	}
	all.Wait()
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	protocols.Range(func(protocol, _ any) bool {
		if protocol != "HTTP/1.1" {
			t.Errorf("vault was asked in %v", protocol)
		}
		return true
	})
}
