// Package oci logs in to Vault with Oracle Cloud credentials: the headers of a
// signed request, which Vault has checked by Oracle.
//
// Type apikey takes a user's key from OCI_* variables (tenancy_ocid, user_ocid,
// fingerprint, private_key_path, region), ~/.oci/config, OCI_CONFIG_FILE or
// ~/.oraclebmc/config. Type instance takes the certificate the instance's
// metadata holds and trades it for a session token.
package oci

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// Types of login.
const (
	APIKey   = "apikey"
	Instance = "instance"
)

// Config says who logs in.
type Config struct {
	MountPath    string        // default "auth/oci"
	Type         string        // APIKey or Instance; required
	Role         string        // required
	PollInterval time.Duration // credential_poll_interval; default 60 s

	Env func(string) string // the environment; nil = empty

	// Seams.
	now                  func() time.Time
	metadata, federation string
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Type: o.String("type", ""), Role: o.String("role", ""), PollInterval: o.Duration("credential_poll_interval", time.Minute)}
	o.Require("type", c.Type)
	o.Require("role", c.Role)
	return c, o.Err()
}

// New checks c and asks nobody anything.
func New(c Config) (*Method, error) {
	switch {
	case c.Type != APIKey && c.Type != Instance:
		return nil, fmt.Errorf("oci: type must be %q or %q", APIKey, Instance)
	case c.Role == "":
		return nil, errors.New("oci: a role is required")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/oci"
	}
	c.Role = strings.ToLower(c.Role) // Vault compares the signed path with its own lower-case name
	if c.PollInterval <= 0 {
		c.PollInterval = time.Minute
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.metadata == "" {
		c.metadata = c.Env("OCI_METADATA_BASE_URL")
	}
	if c.metadata == "" {
		c.metadata = "http://169.254.169.254/opc/v2"
	}
	if c.federation == "" {
		c.federation = c.Env("OCI_SDK_AUTH_CLIENT_REGION_URL")
	}
	return &Method{cfg: c, direct: method.Direct(), public: method.Public()}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg            Config
	direct, public *http.Client

	mu      sync.Mutex
	session signer          // an instance's, until shortly before its end
	key     *rsa.PrivateKey // of all its sessions, made with the first
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	s, err := m.signer(ctx)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(client.Address())
	if err != nil {
		return nil, errors.New("log in by oci: the address of vault is no URL")
	}
	path := strings.Trim(m.cfg.MountPath, "/") + "/login/" + m.cfg.Role
	header := map[string][]string{
		"date":             {m.cfg.now().UTC().Format(http.TimeFormat)},
		"host":             {base.Host},
		"(request-target)": {"get /v1/" + path},
	}
	authorization, err := s.authorize(header, "date", "(request-target)", "host")
	if err != nil {
		return nil, err
	}
	header["authorization"] = []string{authorization}
	answer, err := method.Login(ctx, client, path, map[string]any{"request_headers": header})
	if denied(err) { // the session may say what Oracle no longer does: of groups, for example
		m.mu.Lock()
		m.session = signer{}
		m.mu.Unlock()
	}
	return answer, err
}

func denied(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && re.StatusCode < http.StatusInternalServerError
}

// authorize signs the named headers (draft-cavage-http-signatures-08, RSA with SHA-256).
func (s signer) authorize(header map[string][]string, names ...string) (string, error) {
	lines := make([]string, len(names))
	for i, n := range names {
		lines[i] = n + ": " + header[n][0]
	}
	signature, err := method.SignRS256(s.key, strings.Join(lines, "\n"))
	if err != nil {
		return "", &method.CredentialError{What: what, Err: errors.New("the key does not sign")}
	}
	return fmt.Sprintf(`Signature version="1",headers="%s",keyId="%s",algorithm="rsa-sha256",signature="%s"`,
		strings.Join(names, " "), s.id, base64.StdEncoding.EncodeToString(signature)), nil
}

// Fingerprint implements method.Credentials. An instance's credential is its certificate;
// looking at it trades no session.
func (m *Method) Fingerprint(ctx context.Context) (string, error) {
	if m.cfg.Type == Instance {
		cert, err := m.ask(ctx, "identity/cert.pem")
		return method.Fingerprint(string(cert)), err
	}
	s, err := m.userKey()
	if err != nil {
		return "", err
	}
	return method.Fingerprint(s.id), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	if m.cfg.Type == APIKey {
		files = m.configFiles()
	}
	return files, m.cfg.PollInterval
}
