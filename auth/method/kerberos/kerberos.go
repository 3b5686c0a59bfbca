// Package kerberos logs in with a keytab: a service ticket for Vault in a SPNEGO
// header. keytab and krb5.conf are read anew at each login.
package kerberos

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/spnego"

	"github.com/envexec/envexec/auth/method"
)

// Config says who logs in. All but the last two are required.
type Config struct {
	Username     string // of the keytab's entry
	Service      string // Vault's principal, "HTTP/vault.example.com"
	Realm        string
	KeytabPath   string
	Krb5ConfPath string

	MountPath   string // default "auth/kerberos"
	DisableFAST bool   // disable_fast_negotiation: for Active Directory
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Username:     o.String("username", ""),
		Service:      o.String("service", ""),
		Realm:        o.String("realm", ""),
		KeytabPath:   o.String("keytab_path", ""),
		Krb5ConfPath: o.String("krb5conf_path", ""),
		DisableFAST:  o.Bool("disable_fast_negotiation", false),
	}
	o.Require("username", c.Username)
	o.Require("service", c.Service)
	o.Require("realm", c.Realm)
	o.Require("keytab_path", c.KeytabPath)
	o.Require("krb5conf_path", c.Krb5ConfPath)
	return c, o.Err()
}

// New checks c and reads nothing.
func New(c Config) (*Method, error) {
	if c.Username == "" || c.Service == "" || c.Realm == "" || c.KeytabPath == "" || c.Krb5ConfPath == "" {
		return nil, errors.New("kerberos: username, service, realm, keytab and krb5.conf are required")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/kerberos"
	}
	return &Method{cfg: c}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct{ cfg Config }

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	header, err := m.negotiate(ctx)
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, c, m.cfg.MountPath+"/login", map[string]any{}, http.Header{"Authorization": {header}})
}

// negotiate gets the header that proves who we are.
func (m *Method) negotiate(ctx context.Context) (header string, err error) {
	kt, err := readKeytab(m.cfg.KeytabPath)
	if err != nil {
		return "", &method.CredentialError{What: "keytab", Path: m.cfg.KeytabPath, Err: err}
	}
	conf, err := readConfig(m.cfg.Krb5ConfPath)
	if err != nil {
		return "", &method.CredentialError{What: "kerberos configuration", Path: m.cfg.Krb5ConfPath, Err: err}
	}
	relay, err := newRelay(ctx, conf, m.cfg.Realm, conf.ResolveRealm(path.Base(m.cfg.Service)))
	if errors.Is(err, errNotNamed) {
		return "", &method.CredentialError{What: "kerberos configuration", Path: m.cfg.Krb5ConfPath, Err: err}
	}
	if err != nil {
		return "", err
	}
	defer relay.close()
	err = guard(func() error {
		header, err = m.ticket(kt, conf)
		return err
	})
	switch down := relay.failure(); {
	case err == nil:
		return header, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case down != nil:
		return "", fmt.Errorf("get a kerberos ticket for %s@%s: %w", m.cfg.Username, m.cfg.Realm, down)
	}
	return "", err
}

// ticket has the library ask for a service ticket.
func (m *Method) ticket(kt *keytab.Keytab, conf *config.Config) (header string, err error) {
	cl := client.NewWithKeytab(m.cfg.Username, m.cfg.Realm, kt, conf, client.DisablePAFXFAST(m.cfg.DisableFAST))
	defer cl.Destroy() // ends its renewal goroutine
	s := spnego.SPNEGOClient(cl, m.cfg.Service)
	if err := s.AcquireCred(); err != nil {
		return "", failed("kerberos ticket for "+m.cfg.Username+"@"+m.cfg.Realm, err)
	}
	token, err := s.InitSecContext()
	if err != nil {
		return "", failed("kerberos ticket for service "+m.cfg.Service, err)
	}
	b, err := token.Marshal()
	if err != nil {
		return "", errors.New("make the kerberos login header")
	}
	return "Negotiate " + base64.StdEncoding.EncodeToString(b), nil
}

// failed tells a KDC's refusal, which may lock the account when it is repeated, from
// one that is busy or of another mind about the time. The library tells them in its
// text only.
func failed(what string, err error) error {
	text := err.Error()
	for _, heals := range []string{krberror.NetworkingError, "KDC_ERR_SVC_UNAVAILABLE", "KRB_AP_ERR_SKEW"} {
		if strings.Contains(text, heals) {
			return fmt.Errorf("get a %s: %w", what, err)
		}
	}
	return &method.CredentialError{What: what, Err: err}
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	var parts []string
	for _, path := range []string{m.cfg.KeytabPath, m.cfg.Krb5ConfPath} {
		b, err := method.ReadFile(path)
		if err != nil {
			return "", nil //nolint:nilerr // a file that cannot be read counts as none
		}
		parts = append(parts, string(b))
	}
	return method.Fingerprint(parts...), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) {
	return []string{m.cfg.KeytabPath, m.cfg.Krb5ConfPath}, time.Minute
}
