package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/envexec/envexec/config"
)

// soon is how long before a certificate's end check begins to warn.
const soon = 14 * 24 * time.Hour

// certificates checks every TLS file: those for Vault, for a login by certificate, and the listeners'.
func (c *checkup) certificates(cfg *config.Config) {
	v := cfg.Vault
	c.authorities("ca_cert", v.CACert)
	if len(v.CACertBytes) > 0 {
		c.bundle("ca_cert_bytes", "the text given", []byte(v.CACertBytes), true)
	}
	if v.CAPath != "" {
		c.authorityPath(v.CAPath)
	}
	c.pair("client_cert", v.ClientCert, "client_key", v.ClientKey)
	if cfg.Login.Method == "cert" {
		text := func(key string) string { s, _ := setting(cfg.Login, key).(string); return s }
		c.authorities("auto_auth ca_cert", text("ca_cert"))
		c.pair("auto_auth client_cert", text("client_cert"), "client_key", text("client_key"))
	}
	for _, l := range cfg.Listeners {
		if l.TLSDisable {
			continue
		}
		c.pair("tls_cert_file", l.TLSCertFile, "tls_key_file", l.TLSKeyFile)
		c.authorities("tls_client_ca_file", l.TLSClientCAFile)
	}
}

// pair checks a certificate and that its key belongs to it and is private.
func (c *checkup) pair(what, cert, keyWhat, key string) {
	if cert == "" || !c.certificate(what, cert) || key == "" {
		return
	}
	info, err := os.Stat(key)
	if err == nil {
		_, err = tls.LoadX509KeyPair(cert, key)
	}
	if err != nil {
		c.fail("certificate", statusConfig, fmt.Errorf("%s: %w", keyWhat, named(err, key)))
		return
	}
	c.private("certificate", keyWhat, key, info, true)
}

// named puts the file in front of an error that does not name it.
func named(err error, file string) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}

// authorities checks a file of certificate authorities; "" is none.
func (c *checkup) authorities(what, file string) {
	if text, ok := c.readCertificates(what, file); ok {
		c.bundle(what, file, text, true)
	}
}

// authorityPath checks the files below a directory, as they are all read.
func (c *checkup) authorityPath(dir string) {
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			c.authorities("ca_path", file)
		}
		return err
	})
	if err != nil {
		c.fail("certificate", statusConfig, fmt.Errorf("ca_path: %w", err))
	}
}

// certificate checks a chain; false: it cannot be used.
func (c *checkup) certificate(what, file string) bool {
	text, ok := c.readCertificates(what, file)
	return ok && c.bundle(what, file, text, false)
}

func (c *checkup) readCertificates(what, file string) (text []byte, ok bool) {
	if file == "" {
		return nil, false
	}
	text, err := os.ReadFile(file)
	if err != nil {
		c.fail("certificate", statusConfig, fmt.Errorf("%s: %w", what, err))
	}
	return text, err == nil
}

// bundle checks the times of PEM certificates. Of several authorities one that has ended is
// only worth a word: the others still work.
func (c *checkup) bundle(what, file string, text []byte, authorities bool) (usable bool) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.fail("certificate", statusConfig, fmt.Errorf("%s: %s: %w", what, file, err))
			return false
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		hint := ""
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			hint = ", only a key"
		}
		c.fail("certificate", statusConfig, fmt.Errorf("%s: %s has no certificate in it%s", what, file, hint))
		return false
	}
	dead := 0
	for _, cert := range certs {
		if wrongTime(cert) != "" {
			dead++
		}
	}
	for _, cert := range certs {
		left := time.Until(cert.NotAfter)
		at := fmt.Sprintf("%s: %s: ", what, file)
		if len(certs) > 1 && authorities {
			at += fmt.Sprintf("%q ", cert.Subject.CommonName)
		}
		switch why := wrongTime(cert); {
		case why != "" && authorities && dead < len(certs):
			c.add(doubt, "certificate", "%s%s", at, why)
		case why != "":
			c.fail("certificate", statusConfig, errors.New(at+why))
		case left < soon:
			c.add(doubt, "certificate", "%sends soon, at %s", at, stamp(cert.NotAfter))
		case !authorities || len(certs) == 1:
			c.add(fine, "certificate", "%sends at %s", at, stamp(cert.NotAfter))
		}
	}
	if authorities && len(certs) > 1 && dead < len(certs) {
		c.add(fine, "certificate", "%s: %s: %d authorities are valid", what, file, len(certs)-dead)
	}
	return dead == 0 || authorities && dead < len(certs)
}

// wrongTime says why a certificate is not valid now; "" = it is.
func wrongTime(cert *x509.Certificate) string {
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return "ended at " + stamp(cert.NotAfter)
	case now.Before(cert.NotBefore):
		return "begins only at " + stamp(cert.NotBefore)
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
