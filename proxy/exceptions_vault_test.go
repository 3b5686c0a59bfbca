//go:build integration

package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationVaultSeesOurAddress: a token bound to the client's address works
// straight and is refused through us; one bound to ours is the other way about.
func TestIntegrationVaultSeesOurAddress(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"a": "b"})
	v.Policy(t, "reader", `path "secret/*" { capabilities = ["read"] }`)
	// Token creation takes no address: a role does.
	v.Write(t, "auth/token/roles/client", map[string]any{"allowed_policies": "reader", "token_bound_cidrs": "127.0.0.2/32"})
	v.Write(t, "auth/token/roles/ours", map[string]any{"allowed_policies": "reader", "token_bound_cidrs": "127.0.0.1/32"})
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true} })
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	for role, want := range map[string][2]int{"client": {200, 403}, "ours": {403, 200}} {
		made := v.Write(t, "auth/token/create/"+role, map[string]any{"policies": []string{"reader"}})
		for i, address := range []string{v.Addr, r.url} {
			for range 3 {
				a := ask(t, client, "GET", address+"/v1/secret/data/app", "", "X-Vault-Token", made.Auth.ClientToken)
				if a.status != want[i] || a.header.Get("X-Cache") == "HIT" {
					t.Errorf("a token for %s at %s: %d %s, want %d and never a hit", role, []string{"vault", "the proxy"}[i], a.status, a.header.Get("X-Cache"), want[i])
				}
			}
		}
	}
}

// TestIntegrationVaultSeesOurCertificate: what a client shows the listener is not shown to Vault.
func TestIntegrationVaultSeesOurCertificate(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	mine := ours.pair(t)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, c := range r.TLS.PeerCertificates {
			_, _ = w.Write(c.Raw)
		}
	}))
	up.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	up.StartTLS()
	t.Cleanup(up.Close)
	dir := t.TempDir()
	theirs.issue(t, dir+"/cert", dir+"/key")
	r := start(t, up.URL, func(c *Config) {
		settings := c.Client.CloneConfig().HttpClient.Transport.(*http.Transport).TLSClientConfig
		settings.RootCAs = up.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		settings.Certificates = []tls.Certificate{mine}
		c.Listeners[0].TLS = &TLS{CertFile: dir + "/cert", KeyFile: dir + "/key"}
	})
	pool := x509.NewCertPool()
	pool.AddCert(theirs.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{theirs.pair(t)}}, DisableKeepAlives: true}}
	resp, err := client.Post(r.url+"/v1/auth/cert/login", "application/json", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if seen, _ := io.ReadAll(resp.Body); !bytes.Equal(seen, mine.Certificate[0]) {
		t.Errorf("vault saw another certificate than ours: %d bytes, status %d", len(seen), resp.StatusCode)
	}
}
