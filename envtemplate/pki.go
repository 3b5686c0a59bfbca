package envtemplate

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul-template/dependency"
)

// pkiCert is {{ pkiCert "pki/issue/role" "common_name=…" }}: certificate, key and
// chain of one issue.
func (e *execution) pkiCert(args ...string) (any, error) {
	if len(args) == 0 {
		return nil, nil
	}
	req, err := writeRequest(args)
	if err != nil {
		return nil, e.fail(err)
	}
	s, err := e.read(req)
	if err != nil {
		return nil, err
	}
	c, _, err := parsePEM([]byte(pemText(s.Data)))
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
	blocks, err := pemBlocks(text)
	if err != nil {
		return out, nil, err
	}
	for _, b := range blocks {
		switch {
		case b.cert == nil:
			out.Key = b.text
		case !b.cert.IsCA:
			own, out.Cert = b.cert, b.text
		default:
			if out.CA == "" {
				out.CA = b.text
			}
			if !slices.Contains(out.CAChain, b.text) {
				out.CAChain = append(out.CAChain, b.text)
			}
		}
	}
	return out, own, nil
}

// pemBlock is a certificate or a private key.
type pemBlock struct {
	text string
	cert *x509.Certificate // nil: a key
}

// pemBlocks finds the certificates and keys in text; other blocks are left out.
func pemBlocks(text []byte) ([]pemBlock, error) {
	var blocks []pemBlock
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return blocks, nil
		}
		b := pemBlock{text: string(pem.EncodeToMemory(block))}
		switch {
		case block.Type == "CERTIFICATE":
			var err error
			if b.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("certificate cannot be read: %w", err)
			}
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue
		}
		blocks = append(blocks, b)
	}
}
