// Package tokenfile uses the token in a file: token_file of Vault Agent, or
// ~/.vault-token. The file is read anew at each login, and a new token in it is
// taken up at once. It is kept alive where that is possible, and never revoked.
package tokenfile

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// Config names the file.
type Config struct {
	Path string // token_file_path; required
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Path: o.String("token_file_path", "")}
	o.Require("token_file_path", c.Path)
	return c, o.Err()
}

// New checks c. The result is safe for concurrent use.
func New(c Config) (*Method, error) {
	if c.Path == "" {
		return nil, errors.New("token_file: the file's path is required")
	}
	return &Method{file: method.File{Path: c.Path, What: "token"}}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct{ file method.File }

// Login implements api.AuthMethod by lookup-self, with the token in Data["id"].
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	id, err := m.file.Read()
	if err != nil {
		return nil, err
	}
	return method.Lookup(ctx, client, id)
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	return method.Fingerprint(m.file.Peek()), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) { return []string{m.file.Path}, 0 }

// Follow reports that a changed file is a new login even without
// enable_reauth_on_new_credentials: the credential is the token itself.
func (m *Method) Follow() bool { return true }
