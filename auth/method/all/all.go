// Package all is the table of every login method, by the name a configuration
// file or --auth gives it.
package all

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method/approle"
	"github.com/envexec/envexec/auth/method/token"
	"github.com/envexec/envexec/auth/method/tokenfile"
)

// Options is what methods need besides their own settings.
type Options struct {
	MountPath string                   // default "auth/NAME"; without meaning for token and token_file
	Env       func(name string) string // the environment; nil = empty
	Logger    *slog.Logger             // nil = none
}

type constructor func(settings map[string]any, o Options) (api.AuthMethod, error)

// table lists the methods; a value in settings is as HCL or JSON gave it, or a secret.Text.
func table() map[string]constructor {
	return map[string]constructor{
		"approle": func(m map[string]any, o Options) (api.AuthMethod, error) {
			c, err := approle.FromMap(m)
			c.MountPath, c.Logger = o.MountPath, o.Logger
			return build(err, approle.New, c)
		},
		"token": func(m map[string]any, _ Options) (api.AuthMethod, error) {
			c, err := token.FromMap(m)
			return build(err, token.New, c)
		},
		"token_file": func(m map[string]any, _ Options) (api.AuthMethod, error) {
			c, err := tokenfile.FromMap(m)
			return build(err, tokenfile.New, c)
		},
	}
}

// build avoids an interface that holds a nil pointer.
func build[C any, M api.AuthMethod](err error, make func(C) (M, error), c C) (api.AuthMethod, error) {
	if err != nil {
		return nil, err
	}
	m, err := make(c)
	if err != nil {
		return nil, err
	}
	return m, nil
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
		o.MountPath = "auth/" + strings.ToLower(name)
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
