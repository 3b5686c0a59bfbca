package proxy

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestCertificatesAreReadAgainByThemselves: nobody has to ask for it.
func TestCertificatesAreReadAgainByThemselves(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	one.issue(t, cert, key)
	r := start(t, serve(t, echo), func(c *Config) { c.Listeners[0].TLS = &TLS{CertFile: cert, KeyFile: key} })
	get := func(a *authority) bool {
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get(r.url + "/v1/x")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	}
	if !get(one) {
		t.Fatal("the first certificate is not shown")
	}
	two.issue(t, cert, key)
	for began := time.Now(); !get(two); {
		if time.Since(began) > time.Minute {
			t.Fatal("the new certificate is never shown")
		}
	}
}

// TestCipherSuites: one alone, also one that HTTP/2 does not name; an unknown one and a
// key that needs a passphrase are errors and nothing worse.
func TestCipherSuites(t *testing.T) {
	dir := t.TempDir()
	cert, key, locked := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "locked")
	own := newAuthority(t, "own")
	own.issue(t, cert, key)
	suite := "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
	r := start(t, serve(t, echo), func(c *Config) {
		c.Listeners[0].TLS = &TLS{CertFile: cert, KeyFile: key, MaxVersion: "tls12", CipherSuites: []string{suite}}
	})
	pool := x509.NewCertPool()
	pool.AddCert(own.cert)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	if got := tls.CipherSuiteName(conn.ConnectionState().CipherSuite); got != suite {
		t.Errorf("speaks %s", got)
	}
	conn.Close()

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), []byte("p"), x509.PEMCipherAES256) //nolint:staticcheck // what users have
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(locked, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]*TLS{
		"unknown cipher suite": {CertFile: cert, KeyFile: key, CipherSuites: []string{"TLS_NONE"}}, "load certificate": {CertFile: cert, KeyFile: locked},
		"unknown TLS version": {CertFile: cert, KeyFile: key, MinVersion: "ssl3"}, "below the lowest": {CertFile: cert, KeyFile: key, MaxVersion: "tls10"},
		"both required and disabled": {CertFile: cert, KeyFile: key, RequireClientCert: true, DisableClientCerts: true},
		"no certificate in":          {CertFile: cert, KeyFile: key, RequireClientCert: true, ClientCAFile: key},
	} {
		if _, err := newCertificates(files, r.log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestAFloodOfConnectionsTooManyTakesNoMemory: each is closed and forgotten.
func TestAFloodOfConnectionsTooManyTakesNoMemory(t *testing.T) {
	flood := &floodListener{left: 1000}
	full := &crowdListener{Listener: flood, places: make(chan struct{})}
	if _, err := full.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if flood.deep > 100 {
		t.Errorf("the last of them was accepted %d calls deep", flood.deep)
	}
}

type floodListener struct {
	net.Listener
	left, deep int
}

func (l *floodListener) Accept() (net.Conn, error) {
	if l.left--; l.left < 0 {
		l.deep = runtime.Callers(0, make([]uintptr, 2000))
		return nil, net.ErrClosed
	}
	conn, other := net.Pipe()
	return conn, other.Close()
}

// TestConnectionsAreBounded: one too many is closed at once, and its place is given on.
func TestConnectionsAreBounded(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.Listeners[0].MaxConnections = 1 })
	address := strings.TrimPrefix(r.url, "http://")
	answered := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == 200
	}
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if !answered(first) {
		t.Fatal("the first connection is not served")
	}
	if second, err := net.Dial("tcp", address); err == nil {
		if answered(second) {
			t.Error("a second connection is served")
		}
		second.Close()
	}
	first.Close()
	for began := time.Now(); ; {
		third, err := net.Dial("tcp", address)
		if err == nil {
			ok := answered(third)
			third.Close()
			if ok {
				break
			}
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the place stays taken")
		}
	}
}

// TestSlowHeadersAndIdleConnectionsEnd: whoever says nothing loses the connection.
func TestSlowHeadersAndIdleConnectionsEnd(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) {
		c.Listeners[0].ReadHeaderTimeout, c.Listeners[0].IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	for name, said := range map[string]string{
		"nothing": "", "half a header": "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-Half", "one request": "GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, said)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil && os.IsTimeout(err) {
			t.Errorf("%s: the connection stays", name)
		}
		conn.Close()
	}
}

// TestHTTP2WithoutTLS: a client with prior knowledge, beside one of HTTP/1.1.
func TestHTTP2WithoutTLS(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+r.Header.Get("X-Vault-Token")+" "+string(body))
	})
	r := start(t, up, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	large := strings.Repeat("x", 1<<20)
	for _, body := range []string{"", "small", large} {
		req, _ := http.NewRequestWithContext(context.Background(), "PUT", r.url+"/v1/a%2Fb/?x=1", strings.NewReader(body))
		req.Header.Set("X-Vault-Token", "t")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "PUT /v1/a%2Fb/?x=1 t " + body; resp.ProtoMajor != 2 || string(got) != want {
			t.Errorf("HTTP/%d: %.60q, want %.60q", resp.ProtoMajor, got, want)
		}
	}
}
