package vaulttest

import (
	"os"
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
