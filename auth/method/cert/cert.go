// Package cert logs in with a TLS client certificate. The files are read anew
// for each login's handshake, so a renewed certificate is used at once.
package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// Config names the files. None at all means the TLS settings of the client.
type Config struct {
	MountPath string // default "auth/cert"
	Name      string // the role; "" = Vault tries all

	CACert     string // PEM file of the server's CAs; "" = the client's
	ClientCert string // PEM file; together with ClientKey
	ClientKey  string
	// TLS returns the client's settings from their files as they are now, for what is not
	// named above; nil = the client's, as it was made.
	TLS func() (*tls.Config, error)
	// Dial opens a TLS connection with these settings by the client's road to Vault; nil = as
	// its transport does without a DialTLSContext.
	Dial func(ctx context.Context, network, addr string, settings *tls.Config) (net.Conn, error)
	// ReloadPeriod is reload_period: how often the files are looked at besides file events; default 1 min.
	ReloadPeriod time.Duration
}

// FromMap reads the config block of a Vault Agent file. reload is accepted and
// without effect: the files are always read anew.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Name:         o.String("name", ""),
		CACert:       o.String("ca_cert", ""),
		ClientCert:   o.String("client_cert", ""),
		ClientKey:    o.String("client_key", ""),
		ReloadPeriod: o.Duration("reload_period", time.Minute),
	}
	_ = o.Bool("reload", false)
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	if (c.ClientCert == "") != (c.ClientKey == "") {
		return nil, errors.New("cert: client_cert and client_key must be given together")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/cert"
	}
	return &Method{cfg: c}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct{ cfg Config }

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	body := map[string]any{}
	if m.cfg.Name != "" {
		body["name"] = m.cfg.Name
	}
	own, done, err := m.client(client)
	if err != nil {
		return nil, err
	}
	defer done()
	return method.Login(ctx, own, m.cfg.MountPath+"/login", body)
}

// client is base with a connection of its own, for one handshake: with the method's
// files, or with what the client itself uses by now.
func (m *Method) client(base *api.Client) (c *api.Client, done func(), err error) {
	cfg := base.CloneConfig()
	cfg.AgentAddress = ""
	cfg.Address = base.Address()
	from, ok := cfg.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, nil, errors.New("log in by certificate: the client has no TLS transport")
	}
	transport := from.Clone()
	transport.TLSNextProto = nil // else it would share the HTTP/2 connections of the base
	transport.DisableKeepAlives = true
	if m.cfg.ClientCert != "" || m.cfg.CACert != "" {
		t, err := m.settings(from.TLSClientConfig)
		if err != nil {
			return nil, nil, err
		}
		transport.TLSClientConfig, transport.DialTLSContext = t, nil
		if dial := m.cfg.Dial; dial != nil {
			transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				return dial(ctx, network, addr, t.Clone())
			}
		}
	}
	cfg.HttpClient = &http.Client{Transport: transport, CheckRedirect: cfg.HttpClient.CheckRedirect, Timeout: cfg.HttpClient.Timeout}
	c, err = api.NewClient(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("log in by certificate: %w", err)
	}
	c.SetHeaders(base.Headers()) // namespace and the rest
	c.ClearToken()
	c.SetWrappingLookupFunc(base.CurrentWrappingLookupFunc())
	return c, transport.CloseIdleConnections, nil
}

// settings are those of base, or of Config.TLS, with the method's files in place.
func (m *Method) settings(base *tls.Config) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.cfg.TLS != nil {
		fresh, err := m.cfg.TLS()
		if err != nil {
			return nil, err
		}
		t = fresh
	} else if base != nil {
		t = base.Clone()
	}
	return t, m.configure(t)
}

func (m *Method) configure(t *tls.Config) error {
	if m.cfg.ClientCert != "" {
		pair, err := loadPair(m.cfg.ClientCert, m.cfg.ClientKey)
		if err != nil {
			return &method.CredentialError{What: "client certificate", Path: m.cfg.ClientCert, Err: err}
		}
		t.Certificates, t.GetClientCertificate = nil, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if m.cfg.CACert != "" {
		pem, err := method.ReadFile(m.cfg.CACert)
		if err != nil {
			return &method.CredentialError{What: "ca certificate", Path: m.cfg.CACert, Err: err}
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return &method.CredentialError{What: "ca certificate", Path: m.cfg.CACert, Err: errors.New("no PEM certificate in it")}
		}
	}
	return nil
}

func loadPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := method.ReadFile(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := method.ReadFile(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// Fingerprint implements method.Credentials. A pair that does not match, as in the middle of
// a renewal, counts as none.
func (m *Method) Fingerprint(context.Context) (string, error) {
	var parts []string
	for _, path := range []string{m.cfg.ClientCert, m.cfg.ClientKey, m.cfg.CACert} {
		if path == "" {
			continue
		}
		b, err := method.ReadFile(path)
		if err != nil {
			return "", nil //nolint:nilerr // counts as none
		}
		parts = append(parts, string(b))
	}
	if m.cfg.ClientCert != "" {
		if _, err := tls.X509KeyPair([]byte(parts[0]), []byte(parts[1])); err != nil {
			return "", nil //nolint:nilerr // counts as none
		}
	}
	return method.Fingerprint(parts...), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	for _, f := range []string{m.cfg.ClientCert, m.cfg.ClientKey, m.cfg.CACert} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files, m.cfg.ReloadPeriod
}
