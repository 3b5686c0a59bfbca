package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TLS makes the server speak HTTPS with a CA of its own (Server.CACert). It asks
// clients for a certificate, as Vault does. Not together with Durable.
func TLS() Option { return func(o *options) { o.tls = true } }

// awaitCA waits for the file that a TLS server writes first of all; what keeps
// it from doing so is said by whoever reads the file next.
func (s *Server) awaitCA() {
	for end := time.Now().Add(startLimit); time.Now().Before(end) && !s.process.gone(); time.Sleep(pollEvery) {
		if text, err := os.ReadFile(s.CACert); err == nil && strings.Contains(string(text), "END CERTIFICATE") {
			return
		}
	}
}

// Mutual is a listener that admits only clients with a certificate. One pair is its own, the
// client's, and the authority of both.
type Mutual struct {
	Addr      string // https://127.0.0.1:port
	Cert, Key string // PEM files
}

// MutualTLS adds such a listener (Server.Mutual). Not together with Durable or TLS.
func MutualTLS() Option { return func(o *options) { o.mutual = true } }

// openMutual returns the file that makes the server listen so, on the port after its own.
func (s *Server) openMutual() (config string, err error) {
	port := s.port + 1
	s.Mutual = Mutual{fmt.Sprintf("https://127.0.0.1:%d", port), filepath.Join(s.dir, "pair.pem"), filepath.Join(s.dir, "pair.key")}
	if err := writePair(s.Mutual.Cert, s.Mutual.Key); err != nil {
		return "", fmt.Errorf("make a certificate: %w", err)
	}
	text := fmt.Sprintf(`listener "tcp" {
  address = "127.0.0.1:%d"
  tls_cert_file = %[2]q
  tls_key_file = %q
  tls_client_ca_file = %[2]q
  tls_require_and_verify_client_cert = true
}
`, port, s.Mutual.Cert, s.Mutual.Key)
	config = filepath.Join(s.dir, "mutual.hcl")
	return config, os.WriteFile(config, []byte(text), 0o600)
}

func writePair(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	text := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, text, text, &private.PublicKey, private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
