package config

import "strings"

var features = []string{"auto-auth", "caching", "proxying", "templating"}

const serverOnly = "it belongs to a Vault server"

// root is the top level of a file.
func root(c *Config) stanza {
	s := stanza{
		doc: "The top level of a file.",
		keys: []key{
			{name: "pid_file", to: &c.PIDFile, doc: "file that gets our process id; removed at the end", example: `"/run/envexec.pid"`},
			{name: "exit_after_auth", to: &c.Start.ExitAfterAuth, doc: "end with 0 once the token and all files are written"},
			{name: "log_level", to: &c.Log.Level, doc: "trace, debug, info, warn or error", check: checkLevel(c)},
			{name: "log_format", to: &c.Log.Format, doc: "text or json; Vault's word standard means text", check: checkFormat(c)},
			{name: "log_file", to: &c.Log.File, doc: "also write the log to this file", example: `"/var/log/envexec.log"`},
			{name: "log_rotate_bytes", to: &c.Log.RotateBytes, doc: "begin a new log file at this size; 0 = never"},
			{name: "log_rotate_duration", to: &c.Log.RotateDuration, doc: "begin a new log file after this time"},
			{name: "log_rotate_max_files", to: &c.Log.RotateMaxFiles, doc: "old log files kept; 0 = all, negative = none"},
			{name: "disable_idle_connections", to: &c.Vault.DisableIdle, allow: features, doc: "who keeps no idle connection to Vault", example: `["auto-auth"]`},
			{name: "disable_keep_alives", to: &c.Vault.DisableKeepAlives, allow: features, doc: "who opens a connection for each request", example: `["templating"]`},
			{name: "cluster_name", to: new(string), doc: "a label of Vault's metrics", why: "our metrics have no cluster label"},
			{name: "admin", ours: true, to: &c.Admin, doc: "status socket: auto, off or a path", example: `"off"`},
		},
		blocks: []block{
			{name: "vault", open: func() stanza { return vaultStanza(c) }},
			{name: "auto_auth", open: func() stanza { return autoAuthStanza(c) }},
			{name: "template_config", open: func() stanza { return templateConfigStanza(c) }},
			{name: "template", many: true, open: func() stanza { return templateStanza(c) }},
			{name: "env_template", many: true, open: func() stanza { return envTemplateStanza(c) }},
			{name: "exec", open: func() stanza { return execStanza(c) }},
			{name: "listener", many: true, open: func() stanza { return listenerStanza(c) }},
			{name: "api_proxy", open: func() stanza { return apiProxyStanza(c) }},
			{name: "cache", open: func() stanza { return cacheStanza(c) }},
			{name: "telemetry", open: func() stanza { return telemetryStanza(c) }},
		},
	}
	s.blocks = append(s.blocks, ownStanzas(c)...)
	for _, name := range []string{"seal", "entropy", "user_lockout", "storage", "ha_storage", "hsm", "backend", "service_registration", "hcp_link", "kms", "sentinel", "request_limiter", "reporting"} {
		s.blocks = append(s.blocks, block{name: name, many: true, why: serverOnly})
	}
	for _, name := range []string{"disable_mlock", "default_max_request_duration", "ui", "api_addr", "cluster_addr", "enable_multiseal", "disable_clustering", "raw_storage_endpoint", "introspection_endpoint"} {
		s.keys = append(s.keys, key{name: name, to: new(string), why: serverOnly})
	}
	return s
}

func checkLevel(c *Config) func(string) error {
	return func(text string) error {
		level, err := logLevel(text)
		c.Log.Level = level
		return err
	}
}

func checkFormat(c *Config) func(string) error {
	return func(text string) error {
		format, err := logFormat(text)
		c.Log.Format = format
		return err
	}
}

// logLevel knows Vault's other spellings too.
func logLevel(text string) (string, error) {
	switch l := strings.ToLower(strings.TrimSpace(text)); l {
	case "trace", "debug", "info", "warn", "error":
		return l, nil
	case "", "notice":
		return "info", nil
	case "warning":
		return "warn", nil
	case "err":
		return "error", nil
	}
	return "info", oneOf(text, "trace", "debug", "info", "warn", "error")
}

func logFormat(text string) (string, error) {
	switch f := strings.ToLower(strings.TrimSpace(text)); f {
	case "json":
		return f, nil
	case "", "standard", "text":
		return "text", nil
	}
	return "text", oneOf(text, "text", "json")
}
