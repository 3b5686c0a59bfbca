package main

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/envexec/envexec/auth"
	methods "github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/files"
)

func (v *vaultSide) newSession(env environ.Environ) (*auth.Session, error) {
	l := v.cfg.Login
	method, err := newMethod(l, v.cfg.Vault, env, v.log)
	if err != nil {
		return nil, err
	}
	client, err := v.clientFor(env, "auto-auth")
	if err != nil {
		return nil, err
	}
	var first []auth.Sink
	if l.WrapTTL == 0 { // what is wrapped is of no use to ourselves
		first = []auth.Sink{v.store, &v.tokens}
	}
	if v.sinks, err = v.newSinks(v.cfg.Sinks, nil); err != nil {
		return nil, err
	}
	for i := range v.sinks {
		if v.trial {
			g := &gate{Sink: v.sinks[i]}
			v.gates, v.sinks[i] = append(v.gates, g), g
		}
	}
	handedOut := l.ProgramToken || len(v.cfg.Sinks) > 0
	agent := len(v.cfg.Program.Args) == 0 && v.cfg.Word != config.Render
	// A token someone else may be using lives on.
	v.revokes = l.Revoke && !handedOut && !agent && !v.cfg.Start.ExitAfterAuth
	var once sync.Once
	cfg := auth.Config{
		Client:     client,
		Method:     method,
		MountPath:  l.MountPath,
		Namespace:  l.Namespace,
		MinBackoff: l.MinBackoff,
		MaxBackoff: l.MaxBackoff,
		ExitOnErr:  exitRule(l.ExitOnErr),
		Reauth:     l.ReauthOnNew,
		WrapTTL:    l.WrapTTL,
		Revoke:     v.revokes,
		First:      first,
		Sinks:      v.sinks,
		Logger:     v.log,
		Trace: auth.Trace{
			OnDelivered: func(uint64) { once.Do(func() { close(v.delivered) }) },
			OnFailure:   v.loginFailed,
		},
	}
	v.keepLogin(&cfg)
	return auth.New(cfg)
}

func exitRule(c config.Choice) auth.Exit {
	switch c {
	case config.Yes:
		return auth.ExitAlways
	case config.No:
		return auth.ExitNever
	}
	return auth.ExitDenied
}

func newMethod(l config.Login, server config.Vault, env environ.Environ, log *slog.Logger) (auth.Method, error) {
	settings := l.Settings
	name := l.Method
	switch {
	case name == "" && filled(env.Keep("VAULT_SECRET_ID*", "APPROLE_SECRET_ID*")):
		return nil, errors.New("no way to log in to Vault: there is a secret id but no role id: set VAULT_ROLE_ID")
	case name == "":
		return nil, errors.New("no way to log in to Vault: set VAULT_TOKEN, or VAULT_ROLE_ID with VAULT_SECRET_ID, or use --auth or auto_auth")
	case name == "token" && l.TokenFile != "":
		name, settings = "token_file", map[string]any{"token_file_path": l.TokenFile}
	case name == "token":
		settings = map[string]any{"token": l.Token}
	}
	get := func(name string) string { value, _ := env.Get(name); return value }
	road, err := newTunnel(server, env)
	if err != nil {
		return nil, err
	}
	return methods.New(name, settings, methods.Options{MountPath: l.MountPath, Env: get, Logger: log, TLS: road.tls, Dial: road.dialWith, OpenPrivate: files.OpenPrivate})
}

// filled reports whether one of the variables is more than set to nothing.
func filled(env environ.Environ) bool {
	for _, value := range env.All() {
		if value != "" {
			return true
		}
	}
	return false
}
