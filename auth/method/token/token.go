// Package token uses a token that was given directly, as in VAULT_TOKEN. It is
// looked up, kept alive where that is possible, and never revoked.
package token

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config holds the token.
type Config struct {
	Token secret.Text // required
}

// FromMap reads the key token.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Token: o.Text("token")}
	o.Require("token", c.Token.Reveal())
	return c, o.Err()
}

// New checks c. The result is safe for concurrent use.
func New(c Config) (*Method, error) {
	if c.Token.Empty() {
		return nil, errors.New("token: no token given")
	}
	return &Method{cfg: c}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct{ cfg Config }

// Login implements api.AuthMethod by lookup-self, with the token in Data["id"].
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return method.Lookup(ctx, client, m.cfg.Token.Reveal())
}

// Fingerprint implements method.Credentials: the token never changes.
func (m *Method) Fingerprint(context.Context) (string, error) {
	return method.Fingerprint(m.cfg.Token.Reveal()), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) { return nil, 0 }
