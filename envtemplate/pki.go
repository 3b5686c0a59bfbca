package envtemplate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul-template/dependency"

	"github.com/envexec/envexec/secret"
)

// pkiCert is {{ pkiCert "pki/issue/role" "common_name=…" }}: certificate, key and
// chain of one issue.
func (e *execution) pkiCert(args ...string) (any, error) {
	if len(args) == 0 {
		return nil, nil
	}
	req, err := templateRequest(args[0])
	if err != nil {
		return nil, e.fail(err)
	}
	req.Op = secret.Write
	if req.Body, err = fields(args[1:]); err != nil {
		return nil, e.fail(fmt.Errorf("%s: %w", req, err))
	}
	if c, ok := e.reusable(req); ok {
		return c, nil
	}
	s, err := e.read(req)
	if err != nil {
		return nil, err
	}
	e.work.issued.Store(true)
	text := pemText(s.Data)
	c, _, err := parsePEM([]byte(text))
	if err != nil {
		return nil, e.fail(fmt.Errorf("%s: %w", req, err))
	}
	if own, ok := s.Data["certificate"].(string); ok && c.Cert == "" {
		c.Cert = own // a CA was issued
	}
	return c, nil
}

// reusable returns what an earlier life wrote to the template's file, if it is the
// certificate asked for, still fresh, and all the template looks at is there.
func (e *execution) reusable(req secret.Request) (dependency.PemEncoded, bool) {
	var none dependency.PemEncoded
	if e.work.file.Path == "" || e.work.issued.Load() {
		return none, false
	}
	text, err := os.ReadFile(e.work.file.Path)
	if err != nil {
		return none, false
	}
	c, own, err := parsePEM(text)
	if err != nil || own == nil || !answers(own, req.Body) {
		return none, false
	}
	fields := e.work.src.fields
	if fields["Key"] && c.Key == "" || fields["CA"] && c.CA == "" || fields["CAChain"] && len(c.CAChain) == 0 {
		return none, false
	}
	if c.Key != "" {
		if _, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key)); err != nil {
			return none, false
		}
	}
	life := own.NotAfter.Sub(own.NotBefore)
	until := own.NotBefore.Add(time.Duration(float64(life) * e.work.cfg.RenewalThreshold))
	now := e.work.cfg.now()
	if !until.After(now) {
		return none, false
	}
	// Counted from now: the wall clock that certificates live by may not be ours.
	if again := time.Now().Add(until.Sub(now)); e.again.IsZero() || again.Before(e.again) {
		e.again = again
	}
	return c, true
}

// answers reports whether cert carries the names body asks for.
func answers(cert *x509.Certificate, body map[string]any) bool {
	has := func(name string) bool {
		return name == cert.Subject.CommonName || slices.Contains(cert.DNSNames, name) || slices.Contains(cert.EmailAddresses, name)
	}
	for _, field := range []string{"common_name", "alt_names"} {
		names, _ := body[field].(string)
		for name := range strings.SplitSeq(names, ",") {
			if name = strings.TrimSpace(name); name != "" && !has(name) {
				return false
			}
		}
	}
	return true
}

// pemText joins the PEM blocks of an answer: the certificate first, then its issuers.
func pemText(data map[string]any) string {
	var text string
	add := func(v any) {
		if s, ok := v.(string); ok {
			text += s + "\n"
		}
	}
	first := []string{"certificate", "issuing_ca", "ca_chain", "private_key"}
	for _, name := range slices.Concat(first, sortedKeys(data)) {
		switch v := data[name].(type) {
		case string:
			add(v)
		case []any:
			if name == "ca_chain" {
				for _, item := range v {
					add(item)
				}
			}
		}
	}
	return text
}

// parsePEM sorts PEM blocks as consul-template does and returns the certificate itself as well.
func parsePEM(text []byte) (dependency.PemEncoded, *x509.Certificate, error) {
	var out dependency.PemEncoded
	var own *x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out, own, nil
		}
		encoded := string(pem.EncodeToMemory(block))
		if block.Type != "CERTIFICATE" {
			if len(block.Type) >= len("PRIVATE KEY") && block.Type[len(block.Type)-len("PRIVATE KEY"):] == "PRIVATE KEY" {
				out.Key = encoded
			}
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return dependency.PemEncoded{}, nil, fmt.Errorf("certificate cannot be read: %w", err)
		case !cert.IsCA:
			own, out.Cert = cert, encoded
		default:
			if out.CA == "" {
				out.CA = encoded
			}
			if !slices.Contains(out.CAChain, encoded) {
				out.CAChain = append(out.CAChain, encoded)
			}
		}
	}
}
