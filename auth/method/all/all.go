// Package all is the table of every login method, by the name a configuration
// file or --auth gives it.
package all

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method/alicloud"
	"github.com/envexec/envexec/auth/method/approle"
	"github.com/envexec/envexec/auth/method/aws"
	"github.com/envexec/envexec/auth/method/azure"
	"github.com/envexec/envexec/auth/method/cert"
	"github.com/envexec/envexec/auth/method/cf"
	"github.com/envexec/envexec/auth/method/gcp"
	"github.com/envexec/envexec/auth/method/jwt"
	"github.com/envexec/envexec/auth/method/kerberos"
	"github.com/envexec/envexec/auth/method/kubernetes"
	"github.com/envexec/envexec/auth/method/oci"
	"github.com/envexec/envexec/auth/method/password"
	"github.com/envexec/envexec/auth/method/token"
	"github.com/envexec/envexec/auth/method/tokenfile"
)

// Options is what methods need besides their own settings.
type Options struct {
	MountPath string                   // default "auth/NAME"; without meaning for token and token_file
	Env       func(name string) string // the environment; nil = empty
	Logger    *slog.Logger             // nil = none
	// TLS returns the settings for Vault from their files as they are now; nil = those of the client. For cert.
	TLS func() (*tls.Config, error)
	// Dial opens a TLS connection to Vault with these settings; nil = as the client does. For cert.
	Dial func(ctx context.Context, network, addr string, settings *tls.Config) (net.Conn, error)
	// OpenPrivate opens a file that only our own account may use; nil = with mode 0600. For aws.
	OpenPrivate func(path string, flag int) (*os.File, error)
}

type constructor func(settings map[string]any, o Options) (api.AuthMethod, error)

// table lists the methods; a value in settings is as HCL or JSON gave it, or a secret.Text.
func table() map[string]constructor {
	return map[string]constructor{
		"alicloud": entry(alicloud.FromMap, alicloud.New, func(c *alicloud.Config, o Options) { c.MountPath, c.Env = o.MountPath, o.Env }),
		"approle": entry(approle.FromMap, approle.New, func(c *approle.Config, o Options) {
			c.MountPath, c.Logger = o.MountPath, o.Logger
		}),
		"aws": entry(aws.FromMap, aws.New, func(c *aws.Config, o Options) {
			c.MountPath, c.Env, c.OpenPrivate = o.MountPath, o.Env, o.OpenPrivate
		}),
		"azure": entry(azure.FromMap, azure.New, func(c *azure.Config, o Options) { c.MountPath, c.Env = o.MountPath, o.Env }),
		"cert":  entry(cert.FromMap, cert.New, func(c *cert.Config, o Options) { c.MountPath, c.TLS, c.Dial = o.MountPath, o.TLS, o.Dial }),
		"cf":    withEnv(cf.FromMap, cf.New, func(c *cf.Config, o Options) { c.MountPath = o.MountPath }),
		"gcp":   entry(gcp.FromMap, gcp.New, func(c *gcp.Config, o Options) { c.MountPath, c.Env = o.MountPath, o.Env }),
		"github_actions": withEnv(jwt.FromGitHub, jwt.New, func(c *jwt.Config, o Options) {
			c.MountPath, c.Logger = o.MountPath, o.Logger
		}),
		"gitlab": withEnv(jwt.FromGitLab, jwt.New, func(c *jwt.Config, o Options) {
			c.MountPath, c.Logger = o.MountPath, o.Logger
		}),
		"jwt":        entry(jwt.FromMap, jwt.New, func(c *jwt.Config, o Options) { c.MountPath, c.Logger = o.MountPath, o.Logger }),
		"kerberos":   entry(kerberos.FromMap, kerberos.New, func(c *kerberos.Config, o Options) { c.MountPath = o.MountPath }),
		"kubernetes": entry(kubernetes.FromMap, kubernetes.New, func(c *kubernetes.Config, o Options) { c.MountPath = o.MountPath }),
		"ldap": entry(password.FromMap, password.New, func(c *password.Config, o Options) {
			c.MountPath, c.Logger = o.MountPath, o.Logger
		}),
		"oci":        entry(oci.FromMap, oci.New, func(c *oci.Config, o Options) { c.MountPath, c.Env = o.MountPath, o.Env }),
		"token":      entry(token.FromMap, token.New, func(*token.Config, Options) {}),
		"token_file": entry(tokenfile.FromMap, tokenfile.New, func(*tokenfile.Config, Options) {}),
		"userpass": entry(password.FromMap, password.New, func(c *password.Config, o Options) {
			c.MountPath, c.Logger = o.MountPath, o.Logger
		}),
	}
}

// defaultMount is where a method is mounted unless said otherwise.
func defaultMount(name string) string {
	if name == "github_actions" || name == "gitlab" {
		name = "jwt"
	}
	return "auth/" + name
}

// entry makes a method's constructor of its decoder, its New and what it wants of the options.
func entry[C any, M api.AuthMethod](decode func(map[string]any) (C, error), build func(C) (M, error), fill func(*C, Options)) constructor {
	return withEnv(func(m map[string]any, _ func(string) string) (C, error) { return decode(m) }, build, fill)
}

// withEnv is entry for a decoder that reads the environment too.
func withEnv[C any, M api.AuthMethod](decode func(map[string]any, func(string) string) (C, error), build func(C) (M, error), fill func(*C, Options)) constructor {
	return func(settings map[string]any, o Options) (api.AuthMethod, error) {
		c, err := decode(settings, o.Env)
		if err != nil {
			return nil, err
		}
		fill(&c, o)
		m, err := build(c)
		if err != nil { // not an interface that holds a nil pointer
			return nil, err
		}
		return m, nil
	}
}

// New makes the method called name from its settings. All problems of the
// settings come joined, unknown keys with the nearest known one. No request is
// made and no file read.
func New(name string, settings map[string]any, o Options) (api.AuthMethod, error) {
	f, ok := table()[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("%q is no login method; known are %s", name, strings.Join(Names(), ", "))
	}
	if o.Env == nil {
		o.Env = func(string) string { return "" }
	}
	if o.MountPath == "" {
		o.MountPath = defaultMount(strings.ToLower(name))
	}
	o.MountPath = strings.Trim(o.MountPath, "/")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := f(settings, o)
	if err != nil {
		return nil, fmt.Errorf("configure login by %s: %w", name, err)
	}
	return m, nil
}

// Names lists the methods, sorted.
func Names() []string { return slices.Sorted(maps.Keys(table())) }
