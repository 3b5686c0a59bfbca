package envtemplate

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

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
	s, err := e.read(req)
	if err != nil {
		return nil, err
	}
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
