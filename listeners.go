package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/proxy"
)

// newProxy makes and binds the Vault listeners; nil when none is wanted. Where one of
// sockets has the address it is used.
func (v *vaultSide) newProxy(c *config.Config, env environ.Environ, sockets []proxy.Shared) (*proxy.Proxy, error) {
	if len(c.Listeners) == 0 {
		return nil, nil
	}
	client, err := v.listenerClient(env)
	if err != nil {
		return nil, err
	}
	cfg := proxy.Config{
		Client:         client,
		AutoAuth:       v.store != nil,
		Lend:           lending(c.APIProxy),
		Inconsistent:   consistency(c.APIProxy),
		NoRedirects:    c.Vault.DisableRedirects,
		Retries:        cmp.Or(c.Vault.NumRetries, -1), // theirs: 0 = the default
		Cache:          listenerCache(c.Cache),
		OnInvalidToken: v.invalid,
		OnUse:          v.used,
		UserAgent:      "envexec",
		Ready:          v.loggedIn,
		OnQuit: func() {
			if end := v.quit.Load(); end != nil {
				(*end)(nil)
			}
		},
		Secrets: v.secretStats, MetricsPrefix: environ.Identifier(c.Telemetry.Prefix), NoPrometheus: c.Telemetry.PrometheusRetention == 0,
		Logger: v.log,
	}
	v.shelveAnswers(cfg.Cache)
	if c.APIProxy.PrependConfiguredNamespace {
		cfg.PrependNamespace = c.Vault.Namespace
	}
	if !proxy.HasUnixSockets() {
		if err := onLoopback(c); err != nil {
			return nil, err
		}
		cfg.Lend = lending(c.APIProxy)
	}
	for _, l := range c.Listeners {
		cfg.Listeners = append(cfg.Listeners, listener(l))
	}
	reuse(cfg.Listeners, sockets)
	if c.APIProxy.ChildToken {
		if v.bearer.Empty() {
			v.bearer = proxy.NewChildToken()
		}
		cfg.Child = &proxy.Child{Token: v.bearer, Paths: c.APIProxy.ChildPaths}
	}
	p, err := proxy.New(cfg)
	if err != nil {
		return nil, err
	}
	err = p.Bind()
	if err == nil && slices.Contains(p.Addresses(), strings.TrimRight(c.Vault.Address, "/")) {
		err = fmt.Errorf("listen on %s: Vault's address is this listener's own, so that its requests would go round in a circle: set vault.address or VAULT_ADDR to Vault itself", c.Vault.Address)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// secretStats is the store's state for the metrics. Requests that differ only in what
// they send have one name: of those it is the worst that counts.
func (v *vaultSide) secretStats() []proxy.SecretStats {
	if v.store == nil {
		return nil
	}
	var all []proxy.SecretStats
	for _, e := range v.secretStates() {
		s := proxy.SecretStats{Secret: e.Request, Age: e.Age, EndsIn: e.EndsIn, Failures: e.Failures, Error: e.Error}
		if !e.Known {
			s.Age = -1
		}
		last := len(all) - 1
		if last < 0 || all[last].Secret != s.Secret {
			all = append(all, s)
			continue
		}
		a := &all[last]
		a.Age = max(a.Age, s.Age)
		if s.EndsIn != 0 && (a.EndsIn == 0 || s.EndsIn < a.EndsIn) {
			a.EndsIn = s.EndsIn
		}
		if s.Failures > a.Failures {
			a.Failures, a.Error = s.Failures, s.Error
		}
	}
	return all
}

// reuse gives the listeners the sockets that are open already, and closes the others.
func reuse(listeners []proxy.Listener, sockets []proxy.Shared) {
	for _, s := range sockets {
		i := slices.IndexFunc(listeners, func(l proxy.Listener) bool {
			return l.Network == s.Network && l.Address == s.Address && l.Socket == nil
		})
		if i < 0 {
			_ = s.Socket.Close()
			continue
		}
		listeners[i].Socket, listeners[i].Remove = s.Socket, s.Remove
	}
}

// onLoopback moves the program's unix socket to the loopback, where there are no unix
// sockets. Everybody on the machine can reach that: what the socket's rights did, a
// token that only the program gets does there.
func onLoopback(c *config.Config) error {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Type != "unix" {
			continue
		}
		if !l.Child {
			return fmt.Errorf("listen on %s: this system has no unix sockets: use a tcp listener", l.Address)
		}
		if lending(c.APIProxy) != proxy.LendNever {
			if len(c.Listeners) > 1 {
				return fmt.Errorf("listen on %s: this system has no unix sockets, and on the loopback everybody could use our token: use --child-token without use_auto_auth_token", l.Address)
			}
			c.APIProxy.UseAutoAuthToken, c.APIProxy.ForceAutoAuthToken, c.APIProxy.ChildToken = false, false, true
		}
		l.Type, l.Address = "tcp", "127.0.0.1:0"
	}
	return nil
}

// loggedIn says why the listeners cannot serve yet.
func (v *vaultSide) loggedIn() error {
	select {
	case <-v.delivered:
		return nil
	default:
		return errors.New("not logged in to vault yet")
	}
}

func lending(c config.APIProxy) proxy.Lend {
	switch {
	case c.ForceAutoAuthToken:
		return proxy.LendAlways
	case c.UseAutoAuthToken:
		return proxy.LendMissing
	}
	return proxy.LendNever
}

func consistency(c config.APIProxy) proxy.Inconsistent {
	if c.EnforceConsistency != "always" {
		return proxy.AsAsked
	}
	return map[string]proxy.Inconsistent{"retry": proxy.Retry, "forward": proxy.Forward, "fail": proxy.Fail}[c.WhenInconsistent]
}

func listenerCache(c config.Cache) *proxy.Cache {
	if !c.Enabled {
		return nil
	}
	return &proxy.Cache{
		NoLeases: c.DisableDynamicSecrets, StaticSecrets: c.StaticSecrets, ShareLogins: c.ShareLogins,
		MaxAge: c.MaxAge, MaxAgeEvents: max(c.MaxAgeEvents, 1), MaxAgeOffline: c.MaxAgeOffline,
		TicketLife: c.CapabilityInterval, Pessimistic: c.CapabilityPessimistic, MaxBytes: c.MaxBytes,
	}
}

func listener(l config.Listener) proxy.Listener {
	out := proxy.Listener{
		Network: l.Type, Address: l.Address, Role: proxy.Role(l.Role),
		RequireHeader: l.RequireRequestHeader, EnableQuit: l.EnableQuit, Namespace: l.Namespace,
		Mode: l.SocketMode, User: l.SocketUser, Group: l.SocketGroup, AllowUsers: l.AllowUsers,
		MaxRequestSize: l.MaxRequestSize, MaxHeaderBytes: l.MaxHeaderBytes, MaxConnections: l.MaxConnections,
		ReadHeaderTimeout: l.ReadHeaderTimeout, IdleTimeout: l.IdleTimeout,
	}
	if l.Role == "default" {
		out.Role = proxy.RoleDefault
	}
	if !l.TLSDisable {
		out.TLS = &proxy.TLS{
			CertFile: l.TLSCertFile, KeyFile: l.TLSKeyFile, MinVersion: l.TLSMinVersion, MaxVersion: l.TLSMaxVersion,
			CipherSuites: l.TLSCipherSuites, RequireClientCert: l.TLSRequireClientCert,
			ClientCAFile: l.TLSClientCAFile, DisableClientCerts: l.TLSDisableClientCert,
		}
	}
	return out
}

// withToken gives the program our token, if it was asked for.
func (v *vaultSide) withToken(program environ.Environ) environ.Environ {
	if v == nil || v.session == nil {
		return program
	}
	if t, ok := v.session.Token(); ok && v.cfg.Login.ProgramToken {
		return program.Set("VAULT_TOKEN", t.ID.Reveal())
	}
	return program
}

// guide points the program at the listener that was made for it.
func (v *vaultSide) guide(program environ.Environ) environ.Environ {
	if v == nil || v.proxy == nil {
		return program // its token comes with each generation, see withToken
	}
	for i, l := range v.cfg.Listeners {
		if l.Child {
			program = program.Strip("VAULT_AGENT_ADDR").Set("VAULT_ADDR", v.addresses[i]) // which would go before it
			break
		}
	}
	if v.cfg.APIProxy.ChildToken {
		program = program.Set("VAULT_TOKEN", v.bearer.Reveal())
	}
	return program
}
