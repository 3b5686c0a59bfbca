//go:build integration

package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envexec/envexec/auth/authtest"
)

// cloud is the providers' services on loopback: an HTTP proxy that answers itself
// for the hosts it knows, over TLS with certificates of an authority of its own.
// Vault's plugins are run with it as their proxy, so they call the addresses they
// call in production.
type cloud struct {
	proxy string // its URL
	ca    string // PEM file
	key   *ecdsa.PrivateKey
	root  *x509.Certificate

	mu    sync.Mutex
	hosts map[string]http.HandlerFunc
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{key: key, hosts: map[string]http.HandlerFunc{}, ca: filepath.Join(t.TempDir(), "ca.pem")}
	der, err := c.certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: "cloud"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	authtest.WriteFile(t, c.ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	inner := httptest.NewUnstartedServer(http.HandlerFunc(c.answer))
	inner.TLS = &tls.Config{GetCertificate: c.certificate}
	inner.StartTLS()
	t.Cleanup(inner.Close)
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			tunnel(w, inner.Listener.Addr().String())
			return
		}
		c.answer(w, r)
	}))
	t.Cleanup(outer.Close)
	c.proxy = outer.URL
	return c
}

// certify signs template, or signs it by itself while there is no root.
func (c *cloud) certify(template *x509.Certificate) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := c.root
	if parent == nil {
		parent = template
	}
	return x509.CreateCertificate(rand.Reader, template, parent, &c.key.PublicKey, c.key)
}

func (c *cloud) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	der, err := c.certify(&x509.Certificate{Subject: pkix.Name{CommonName: hello.ServerName}, DNSNames: []string{hello.ServerName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}, err
}

// tunnel joins the client's connection with one to address, whoever it asked for.
func tunnel(w http.ResponseWriter, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = to.Close() }()
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = from.Close() }()
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(to, buffered); _ = to.Close() }()
	_, _ = io.Copy(from, to)
}

// at makes h answer for host.
func (c *cloud) at(host string, h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host] = h
}

func (c *cloud) answer(w http.ResponseWriter, r *http.Request) {
	host, _, found := strings.Cut(r.Host, ":")
	if !found {
		host = r.Host
	}
	c.mu.Lock()
	h := c.hosts[host]
	c.mu.Unlock()
	if h == nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	h(w, r)
}

// env makes a Go program's requests end here.
func (c *cloud) env() []string {
	return []string{"HTTPS_PROXY=" + c.proxy, "HTTP_PROXY=" + c.proxy, "NO_PROXY=127.0.0.1,localhost", "SSL_CERT_FILE=" + c.ca}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
