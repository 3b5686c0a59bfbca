//go:build integration

package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// trusting returns the authorities of a Vault with TLS.
func trusting(t *testing.T, v *vaulttest.Server) *x509.CertPool {
	t.Helper()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(v.CACert)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("vault's authority: %v", err)
	}
	return roots
}

// http2Client speaks HTTP/2 and nothing else with a server of these authorities.
func http2Client(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// secured runs a proxy with TLS on both sides, and returns it with a client of HTTP/2.
func secured(t *testing.T, v *vaulttest.Server, edit func(*Config)) (*rig, *http.Client) {
	t.Helper()
	own, dir := newAuthority(t, "listener"), t.TempDir()
	own.issue(t, dir+"/cert", dir+"/key")
	r := start(t, v.Addr, func(c *Config) {
		dialsTLS(c).RootCAs = trusting(t, v)
		c.Listeners[0].TLS = &TLS{CertFile: dir + "/cert", KeyFile: dir + "/key"}
		edit(c)
	})
	roots := x509.NewCertPool()
	roots.AddCert(own.cert)
	return r, http2Client(t, roots)
}

// TestIntegrationAScriptedSessionOverHTTP2: a client that speaks HTTP/2 with a Vault of TLS
// gets the same answers, and its headers, from a listener with TLS before one.
func TestIntegrationAScriptedSessionOverHTTP2(t *testing.T) {
	straight, behind := vaulttest.Start(t, vaulttest.TLS()), vaulttest.Start(t, vaulttest.TLS())
	want, _ := runScript(t, http2Client(t, trusting(t, straight)), straight.Addr, straight.RootToken)
	r, client := secured(t, behind, func(c *Config) { c.UserAgent, c.Cache = "", &Cache{StaticSecrets: true, MaxAge: time.Minute} })
	got, hits := runScript(t, client, r.url, behind.RootToken)
	sameLines(t, want, got, hits)
}

// TestIntegrationAClientThatLeavesEndsItsRequestAtVault: Vault itself no longer counts it as in
// flight, whichever protocol the client spoke.
func TestIntegrationAClientThatLeavesEndsItsRequestAtVault(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.TLS())
	r, second := secured(t, v, func(c *Config) { c.Cache = &Cache{StaticSecrets: true} })
	first := &http.Client{Transport: &http.Transport{TLSClientConfig: second.Transport.(*http.Transport).TLSClientConfig.Clone()}}
	first.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	defer first.CloseIdleConnections()
	straight := http2Client(t, trusting(t, v))
	await := func(what string, inFlight bool) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			a := ask(t, straight, "GET", v.Addr+"/v1/sys/in-flight-req", "", "X-Vault-Token", v.RootToken)
			if a.status != 200 {
				t.Fatalf("vault does not tell what is in flight: %d %s", a.status, a.body)
			}
			if strings.Contains(a.body, "/v1/sys/monitor") == inFlight {
				return
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("%s: in flight at vault is %s", what, a.body)
			}
		}
	}
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": first, "HTTP/2.0": second} {
		ctx, leave := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/v1/sys/monitor?log_level=trace", nil)
		req.Header.Set("X-Vault-Token", v.RootToken)
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != 200 || resp.Proto != protocol {
			t.Fatalf("%s: %v %v", protocol, resp, err)
		}
		await(protocol+", a client that is there", true)
		leave()
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		await(protocol+", a client that left", false)
	}
}
