// Package kubernetes logs in with the pod's service account token, read anew at
// each login: a projected token is replaced by the kubelet before it expires.
package kubernetes

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// DefaultTokenPath is where a pod finds its service account token.
const DefaultTokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path, not a token

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/kubernetes"
	Role      string // required
	TokenPath string // token_path; default DefaultTokenPath. A token projected for Vault's audience is better.
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Role: o.String("role", ""), TokenPath: o.String("token_path", DefaultTokenPath)}
	o.Require("role", c.Role)
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	if c.Role == "" {
		return nil, errors.New("kubernetes: a role is required")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/kubernetes"
	}
	if c.TokenPath == "" {
		c.TokenPath = DefaultTokenPath
	}
	return &Method{cfg: c, file: method.File{Path: c.TokenPath, What: "service account token"}}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg  Config
	file method.File
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	jwt, err := m.file.Read()
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client, m.cfg.MountPath+"/login", map[string]any{"role": m.cfg.Role, "jwt": jwt})
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	return method.Fingerprint(m.file.Peek()), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) { return []string{m.cfg.TokenPath}, 0 }
