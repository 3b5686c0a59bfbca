// Package cf logs in with the identity certificate of a Cloud Foundry instance:
// the certificate, the time and the role are signed with its key. Both files are
// read anew at each login; the platform renews them daily.
package cf

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/cf"
	Role      string // required
	CertFile  string // CF_INSTANCE_CERT; required
	KeyFile   string // CF_INSTANCE_KEY; required

	now func() time.Time
}

// FromMap reads the config block of a Vault Agent file, and the files' names
// from the environment.
func FromMap(m map[string]any, env func(string) string) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Role: o.String("role", ""), CertFile: env("CF_INSTANCE_CERT"), KeyFile: env("CF_INSTANCE_KEY")}
	o.Require("role", c.Role)
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	if c.Role == "" {
		return nil, errors.New("cf: a role is required")
	}
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, errors.New("cf: CF_INSTANCE_CERT and CF_INSTANCE_KEY must name the instance's files")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/cf"
	}
	if c.now == nil {
		c.now = time.Now
	}
	return &Method{
		cfg: c,
		// Verbatim would cut the last line end, which is part of what is signed: sign what we send.
		cert: method.File{Path: c.CertFile, What: "instance certificate"},
		key:  method.File{Path: c.KeyFile, What: "instance key"},
	}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg       Config
	cert, key method.File
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	cert, err := m.cert.Read()
	if err != nil {
		return nil, err
	}
	text, err := m.key.Read()
	if err != nil {
		return nil, err
	}
	key, err := method.RSAKey([]byte(text))
	if err != nil {
		return nil, &method.CredentialError{What: "instance key", Path: m.cfg.KeyFile, Err: err}
	}
	at := m.cfg.now().UTC().Format("2006-01-02T15:04:05Z")
	sum := sha256.Sum256([]byte(at + cert + m.cfg.Role))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
	if err != nil {
		return nil, &method.CredentialError{What: "instance key", Path: m.cfg.KeyFile, Err: errors.New("it does not sign")}
	}
	return method.Login(ctx, client, m.cfg.MountPath+"/login", map[string]any{
		"role":             m.cfg.Role,
		"cf_instance_cert": cert,
		"signing_time":     at,
		"signature":        "v1:" + base64.StdEncoding.EncodeToString(signature),
	})
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	return method.Fingerprint(m.cert.Peek(), m.key.Peek()), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) {
	return []string{m.cfg.CertFile, m.cfg.KeyFile}, 0
}
