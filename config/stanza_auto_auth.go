package config

import (
	"fmt"
	"strings"
)

func autoAuthStanza(c *Config) stanza {
	l := &c.Login
	reset := func() {
		revoke, hand := l.Revoke, l.ProgramToken // of the start stanza
		*l = defaultLogin()
		l.Revoke, l.ProgramToken, c.Sinks, c.autoAuth = revoke, hand, nil, true
	}
	return stanza{
		doc:   "How to log in, and files that get the token; sinks { … } may stand around those.",
		reset: reset,
		group: "sinks",
		keys: []key{
			{name: "enable_reauth_on_new_credentials", to: &l.ReauthOnNew, doc: "log in again as soon as the credential file changes"},
		},
		blocks: []block{
			{name: "method", open: func() stanza { return methodStanza(l) }},
			{name: "sink", many: true, open: func() stanza { return sinkStanza(c) }},
		},
		done: func(d *decoder, b body) {
			if l.Method == "" {
				d.doubt(b.pos, d.key("method"), "missing", `write method "approle" { … }`)
			}
			l.Source = "auto_auth in " + b.pos.String()
			checkWrapping(d, b, c)
		},
	}
}

// checkWrapping: a wrapped login answer can only be handed to one sink as it is.
func checkWrapping(d *decoder, b body, c *Config) {
	if c.Login.WrapTTL == 0 {
		return
	}
	switch {
	case len(c.Sinks) != 1:
		d.doubt(b.pos, d.key("method.wrap_ttl"), fmt.Sprintf("needs exactly one sink, there are %d", len(c.Sinks)), "")
	case c.Sinks[0].WrapTTL > 0:
		d.doubt(c.Sinks[0].Pos, d.key("sink.wrap_ttl"), "cannot be used with method.wrap_ttl", "remove one of them")
	}
}

func methodStanza(l *Login) stanza {
	return stanza{
		doc:   "The auth method. Its own keys are in config; each method has its page.",
		label: &label{name: "type", doc: "the method's name", to: &l.Method, fold: true, allow: methodNames()},
		keys: []key{
			{name: "mount_path", to: &l.MountPath, def: "auth/TYPE", doc: "where the method is mounted, with auth/", example: `"auth/approle"`, check: func(s string) error {
				l.MountPath = strings.TrimSuffix(s, "/")
				return nil
			}},
			{name: "namespace", to: &l.Namespace, doc: "namespace of the login; without vault.namespace also of everything else", example: `"team/"`, check: func(s string) error {
				l.Namespace = namespace(s)
				return nil
			}},
			{name: "wrap_ttl", to: &l.WrapTTL, doc: "the token is handed over wrapped, to one sink"},
			{name: "min_backoff", to: &l.MinBackoff, doc: "first pause after a failed login", check: func(string) error { return orDefault(&l.MinBackoff, defaultLogin().MinBackoff) }},
			{name: "max_backoff", to: &l.MaxBackoff, doc: "longest pause", check: func(string) error { return orDefault(&l.MaxBackoff, defaultLogin().MaxBackoff) }},
			{name: "exit_on_err", to: &l.ExitOnErr, def: "unset", doc: "true ends at any failed login, false retries until start_timeout; unset ends only at what cannot heal", example: "true"},
		},
		blocks: []block{{name: "config", open: func() stanza {
			return stanza{doc: "The method's own keys.", free: &l.Settings, reset: func() { l.Settings = map[string]any{} }}
		}}},
		done: func(d *decoder, b body) {
			if l.Method == "" {
				d.doubt(b.pos, d.key("type"), "missing", `write method "approle" { … }`)
			}
			if l.MinBackoff > l.MaxBackoff {
				d.doubt(b.pos, d.key("min_backoff"), "is above max_backoff", "")
				l.MinBackoff = l.MaxBackoff
			}
			if l.Settings == nil && l.Method != "cert" {
				d.doubt(b.pos, d.key("config"), "missing", "write config { … }")
			} else {
				if l.Method == "approle" {
					idsFromVariables(d.env, l.Settings)
				}
				checkMethod(d, l.Method, l.Settings, b.pos)
			}
		},
	}
}

func sinkStanza(c *Config) stanza {
	s := defaultSink()
	return stanza{
		doc:   "A file that gets each new token.",
		label: &label{name: "type", doc: "only file", to: &s.Type, allow: []string{"file"}},
		keys: []key{
			{name: "wrap_ttl", to: &s.WrapTTL, doc: "wrap the token before writing it"},
			{name: "dh_type", to: &s.DHType, allow: []string{"curve25519"}, doc: "encrypt the token; needs dh_path", example: `"curve25519"`},
			{name: "dh_path", to: &s.DHPath, doc: "file with the other side's public key", example: `"/run/app/dh.json"`},
			{name: "derive_key", to: &s.DeriveKey, doc: "derive the encryption key; with dh_type"},
			{name: "aad", to: &s.AAD, doc: "additional authenticated data; with dh_type", example: `"app"`},
			{name: "aad_env_var", to: new(string), doc: "take aad from this variable", example: `"APP_AAD"`, read: func(d *decoder, it item) {
				if v, ok := it.scalar(); ok {
					s.AAD, _ = d.env.Get(v.text)
				}
			}},
		},
		blocks: []block{{name: "config", open: func() stanza { return sinkConfig(&s) }}},
		done: func(d *decoder, b body) {
			s.Pos = b.pos
			checkSink(d, b, s)
			c.Sinks = append(c.Sinks, s)
		},
	}
}

func sinkConfig(s *Sink) stanza {
	return stanza{
		doc: "Where the token goes.",
		keys: []key{
			{name: "path", to: &s.Path, doc: "the file", example: `"/run/vault/token"`},
			{name: "mode", to: &s.Mode, doc: "its mode", example: "0640"},
			{name: "owner", to: &s.Owner, def: "ours", doc: "its owner, numeric", example: "1000"},
			{name: "group", to: &s.Group, def: "ours", doc: "its group, numeric", example: "1000"},
		},
	}
}

func checkSink(d *decoder, b body, s Sink) {
	switch {
	case s.Type == "":
		d.doubt(b.pos, d.key("type"), "missing", `write sink "file" { … }`)
	case s.Path == "":
		d.doubt(b.pos, d.key("config.path"), "missing", "")
	}
	if s.DHType == "" && s.DHPath != "" || s.DHType != "" && s.DHPath == "" {
		d.doubt(b.pos, d.key("dh_path"), "dh_type and dh_path must be given together", "")
	}
	if s.DHType == "" && (s.DeriveKey || s.AAD != "") {
		d.doubt(b.pos, d.key("dh_type"), "aad and derive_key need it", "")
	}
}
