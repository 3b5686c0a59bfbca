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
	"strings"
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
		settings := dialsTLS(c)
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

// TestIntegrationCertificateLogin: a login with a TLS certificate at a real Vault logs the
// client in straight, and us through the proxy.
func TestIntegrationCertificateLogin(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.TLS())
	v.Write(t, "sys/auth/cert", map[string]any{"type": "cert"})
	certificates := map[string]tls.Certificate{}
	for _, name := range []string{"ours", "theirs"} {
		by := newAuthority(t, name)
		certificates[name] = by.pair(t)
		v.Write(t, "auth/cert/certs/"+name, map[string]any{"certificate": string(by.pem)})
	}
	roots := trusting(t, v)
	r := start(t, v.Addr, func(c *Config) {
		settings := dialsTLS(c)
		settings.RootCAs, settings.Certificates = roots, []tls.Certificate{certificates["ours"]}
		settings.GetClientCertificate = nil
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificates["theirs"]}}, DisableKeepAlives: true}}
	for address, want := range map[string]string{v.Addr: `"cert_name":"theirs"`, r.url: `"cert_name":"ours"`} {
		if a := ask(t, client, "POST", address+"/v1/auth/cert/login", "{}"); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("at %s: %d %s, want %s", address, a.status, a.body, want)
		}
	}
}

// TestIntegrationNamespacesAreAsVaultTakesThem: with prepend_configured_namespace a request
// gets the answer that it gets straight with the whole namespace, whatever edition it is.
func TestIntegrationNamespacesAreAsVaultTakesThem(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"a": "b"})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r := start(t, v.Addr, func(c *Config) { c.PrependNamespace = "team/" })
	for _, asked := range []string{"", "a", "a/b/", "root"} {
		for _, path := range []string{"/v1/secret/data/app", "/v1/sys/namespaces", "/v1/auth/token/lookup-self", "/v1/team/secret/data/app"} {
			whole := "team/" + asked
			through, straight := []string{"X-Vault-Token", v.RootToken}, []string{"X-Vault-Token", v.RootToken, "X-Vault-Namespace", whole}
			if asked != "" {
				through = append(through, "X-Vault-Namespace", asked)
			}
			want, got := ask(t, client, "GET", v.Addr+path, "", straight...), ask(t, client, "GET", r.url+path, "", through...)
			if got.status != want.status || stable(got.body) != stable(want.body) {
				t.Errorf("%s in %q: %d %s, straight %d %s", path, asked, got.status, got.body, want.status, want.body)
			}
		}
	}
}
