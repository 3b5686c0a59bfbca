package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func apiProxyStanza(c *Config) stanza {
	a := &c.APIProxy
	return stanza{
		doc:   "How requests to the listeners are forwarded.",
		reset: func() { *a = defaultAPIProxy(); a.Enabled = true },
		keys: []key{
			useAutoAuthKey(a),
			{name: "enforce_consistency", to: &a.EnforceConsistency, allow: []string{"never", "always"}, doc: "wait until a performance standby has what the client wrote"},
			{name: "when_inconsistent", to: &a.WhenInconsistent, allow: []string{"fail", "retry", "forward"}, doc: "what to do while it has not"},
			{name: "prepend_configured_namespace", to: &a.PrependConfiguredNamespace, doc: "put vault.namespace before the request's namespace"},
			{name: "child_token", ours: true, to: &a.ChildToken, doc: "the program gets a token that only our listener accepts"},
			{name: "child_paths", ours: true, to: &a.ChildPaths, doc: "path prefixes that token may use; empty = all", example: `["secret/data/app/"]`},
		},
	}
}

// useAutoAuthKey reads true, false and "force".
func useAutoAuthKey(a *APIProxy) key {
	return key{name: "use_auto_auth_token", to: &a.UseAutoAuthToken, doc: `requests without a token get ours; "force": all requests`, example: "true", read: func(d *decoder, it item) {
		s, ok := it.scalar()
		force := strings.EqualFold(s.text, "force")
		use, err := parseBool(s.text)
		if !ok || err != nil && !force {
			d.doubt(it.pos, d.key(it.name), `must be true, false or "force"`, "")
			return
		}
		a.UseAutoAuthToken, a.ForceAutoAuthToken = use || force, force
		d.tokenUse = append(d.tokenUse, tokenUse{d.key(it.name), it.pos, a.UseAutoAuthToken})
	}}
}

func cacheStanza(c *Config) stanza {
	h, a := &c.Cache, &c.APIProxy
	s := stanza{
		doc: "The listeners' cache.",
		reset: func() {
			*h = defaults().Cache
			h.Enabled = true
		},
		keys: []key{
			useAutoAuthKey(a),
			{name: "enforce_consistency", to: &a.EnforceConsistency, allow: []string{"never", "always"}, doc: "older place of api_proxy.enforce_consistency"},
			{name: "when_inconsistent", to: &a.WhenInconsistent, allow: []string{"fail", "retry", "forward"}, doc: "older place of api_proxy.when_inconsistent"},
			{name: "cache_static_secrets", to: &h.StaticSecrets, doc: "cache KV reads too; works with every edition of Vault"},
			{name: "disable_caching_dynamic_secrets", to: &h.DisableDynamicSecrets, doc: "cache no leases and tokens"},
			{name: "static_secret_token_capability_refresh_interval", to: &h.CapabilityInterval, doc: "how often a caller's rights are asked for again", check: func(string) error { return orDefault(&h.CapabilityInterval, 5*time.Minute) }},
			{name: "static_secret_token_capability_refresh_behavior", to: &h.behavior, allow: []string{"optimistic", "pessimistic"}, doc: "what holds when they cannot be asked for: optimistic keeps, pessimistic drops"},
			{name: "max_age", ours: true, to: &h.MaxAge, doc: "oldest static secret served; 0 = ask Vault each time"},
			{name: "max_age_events", ours: true, to: &h.MaxAgeEvents, doc: "the same while the server tells of its changes; 0 = as max_age"},
			{name: "max_age_offline", ours: true, to: &h.MaxAgeOffline, doc: "the same while Vault cannot be reached"},
			{name: "max_bytes", ours: true, to: &h.MaxBytes, doc: "memory for cached answers"},
			{name: "share_logins", ours: true, to: &h.ShareLogins, doc: "equal logins of different clients share one token"},
		},
		blocks: []block{{name: "persist", open: func() stanza { return persistStanza(h) }}},
		done: func(d *decoder, b body) {
			h.CapabilityPessimistic = h.behavior == "pessimistic"
			if h.DisableDynamicSecrets && !h.StaticSecrets {
				d.doubt(b.pos, d.key("disable_caching_dynamic_secrets"), "leaves nothing to cache", "set cache_static_secrets = true")
			}
		},
	}
	return s
}

var persistTypes = []string{"kubernetes", "file", "credential", "passphrase"}

func persistStanza(h *Cache) stanza {
	p := &h.Persist
	return stanza{
		doc:   "A sealed file on disk: a restart works while Vault is down. The type says where the key comes from; Vault knows only kubernetes.",
		label: &label{name: "type", doc: strings.Join(persistTypes, ", "), to: &p.Type, allow: persistTypes},
		reset: func() {
			*p = Persist{TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token", MaxAge: 24 * time.Hour, Fallback: 2 * time.Second}
		},
		keys: []key{
			{name: "path", to: &p.Path, doc: "directory of the file envexec.sealed; made if it is absent", example: `"/var/lib/envexec"`},
			{name: "keep_after_import", to: &p.KeepAfterImport, def: "`true`", example: "false", doc: "false: once read, the file is removed and nothing is kept on disk, as Vault Agent does; Vault's default is false"},
			{name: "exit_on_err", to: &p.ExitOnErr, doc: "end when the file cannot be read or is in use, instead of starting without its contents"},
			{name: "service_account_token_file", to: &p.TokenFile, def: "the pod's", doc: "for kubernetes", example: `"/run/token"`},
			{name: "key_file", ours: true, to: &p.KeyFile, doc: "for file: the key, at least 16 bytes", example: `"/etc/envexec/key"`},
			{name: "old_key_file", ours: true, to: &p.OldKeyFile, doc: "for file: the key before the last rotation", example: `"/etc/envexec/key.old"`},
			{name: "credential", ours: true, to: &p.Credential, doc: "for credential: name of a systemd credential", example: `"envexec-key"`, check: checkCredential},
			{name: "old_credential", ours: true, to: &p.OldCredential, doc: "for credential: the one before the last rotation", example: `"envexec-key-old"`, check: checkCredential},
			{name: "passphrase_env", ours: true, to: &p.PassphraseEnv, doc: "for passphrase: variable that holds it", example: `"ENVEXEC_PASSPHRASE"`},
			{name: "old_passphrase_env", ours: true, to: &p.OldPassphraseEnv, doc: "for passphrase: variable with the one before the last rotation", example: `"ENVEXEC_PASSPHRASE_OLD"`},
			{name: "max_age", ours: true, to: &p.MaxAge, def: "`24h`", doc: "a secret last confirmed longer ago is not used", example: `"8h"`, check: func(string) error { return orDefault(&p.MaxAge, 24*time.Hour) }},
			{name: "fallback", ours: true, to: &p.Fallback, def: "`2s`", doc: "use the file when Vault has not answered for this long at the start"},
		},
		done: func(d *decoder, b body) {
			p.Pos = b.pos
			needs := map[string]string{"file": p.KeyFile, "credential": p.Credential, "passphrase": p.PassphraseEnv}
			names := map[string]string{"file": "key_file", "credential": "credential", "passphrase": "passphrase_env"}
			switch {
			case p.Type == "":
				d.doubt(b.pos, d.key("type"), "missing", choose("", persistTypes))
			case p.Path == "":
				d.doubt(b.pos, d.key("path"), "missing", "")
			case names[p.Type] != "" && needs[p.Type] == "":
				d.doubt(b.pos, d.key(names[p.Type]), fmt.Sprintf("persist %q needs it", p.Type), "")
			}
		},
	}
}

// checkCredential refuses what is a path: a credential is a name below $CREDENTIALS_DIRECTORY.
func checkCredential(name string) error {
	if strings.ContainsAny(name, `/\`) || name == ".." {
		return errors.New("a credential's name, not a path")
	}
	return nil
}

func listenerStanza(c *Config) stanza {
	l := defaultListener()
	mode := ""
	ciphers := ""
	s := stanza{
		doc:   "A listener for Vault clients.",
		label: &label{name: "type", doc: "tcp or unix", to: &l.Type, fold: true, allow: []string{"tcp", "unix"}},
		keys: []key{
			{name: "address", to: &l.Address, def: "127.0.0.1:8200 for tcp", doc: "HOST:PORT, or the socket's path", example: `"127.0.0.1:8100"`},
			{name: "role", to: &l.Role, doc: "metrics_only: nothing but metrics and health; ours: admin, which takes the administrative API away from the others, and proxy_only", example: `"metrics_only"`, check: func(s string) error {
				if s != "" && !slices.Contains(listenerRoles, s) {
					return oneOf(s, listenerRoles...)
				}
				return nil
			}},
			{name: "require_request_header", to: &l.RequireRequestHeader, weak: true, doc: "refuse requests without X-Vault-Request: true"},
			{name: "socket_mode", to: &mode, def: "0600", doc: "octal mode of the unix socket", example: `"0660"`, check: func(s string) (err error) {
				l.SocketMode, err = parseMode(s)
				return err
			}},
			{name: "socket_user", to: &l.SocketUser, doc: "its owner, name or id", example: `"app"`},
			{name: "socket_group", to: &l.SocketGroup, doc: "its group, name or id", example: `"app"`},
			{name: "allow_users", ours: true, to: &l.AllowUsers, doc: "unix: users that may connect, by name or id", example: `["app"]`},
			{name: "fixed_namespace", ours: true, to: &l.Namespace, doc: "namespace of every request through this listener", example: `"team/"`},
			{name: "tls_disable", to: &l.TLSDisable, weak: true, doc: "speak plain HTTP; with a unix socket that is what one wants"},
			{name: "tls_cert_file", to: &l.TLSCertFile, doc: "PEM file of the certificate; read again when it changes", example: `"/etc/envexec/tls.pem"`},
			{name: "tls_key_file", to: &l.TLSKeyFile, doc: "PEM file of its key", example: `"/etc/envexec/tls.key"`},
			{name: "tls_min_version", to: &l.TLSMinVersion, allow: tlsVersions, doc: "tls10, tls11, tls12 or tls13"},
			{name: "tls_max_version", to: &l.TLSMaxVersion, allow: tlsVersions, doc: "the same"},
			{name: "tls_cipher_suites", to: &ciphers, doc: "comma list of suites", example: `"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, check: func(s string) error { l.TLSCipherSuites = splitList(s); return nil }},
			{name: "tls_require_and_verify_client_cert", to: &l.TLSRequireClientCert, weak: true, doc: "clients must show a certificate"},
			{name: "tls_client_ca_file", to: &l.TLSClientCAFile, doc: "who must have signed it", example: `"/etc/envexec/clients.pem"`},
			{name: "tls_disable_client_certs", to: &l.TLSDisableClientCert, weak: true, doc: "do not ask for one"},
			{name: "max_request_size", to: &l.MaxRequestSize, doc: "bytes of a request body; 0 = unlimited", example: "33554432"},
			{name: "max_header_bytes", ours: true, to: &l.MaxHeaderBytes, def: "65536", doc: "bytes of a request's line and headers", example: "32768"},
			{name: "max_connections", ours: true, to: &l.MaxConnections, doc: "connections at once, more are closed; 0 = unlimited", example: "1000"},
			{name: "http_read_header_timeout", to: &l.ReadHeaderTimeout, def: "10s", doc: "how long a request's headers may take", example: `"5s"`},
			{name: "http_idle_timeout", to: &l.IdleTimeout, def: "5m", doc: "how long a connection may be idle", example: `"1m"`},
		},
		blocks: []block{
			{name: "agent_api", open: func() stanza { return quitStanza(&l) }},
			{name: "proxy_api", open: func() stanza { return quitStanza(&l) }},
		},
		done: func(d *decoder, b body) {
			l.Pos = b.pos
			checkListener(d, b, &l)
			c.Listeners = append(c.Listeners, l)
		},
	}
	addInert(&s)
	return s
}

var listenerRoles = []string{"default", "metrics_only", "admin", "proxy_only"}

var tlsVersions = []string{"tls10", "tls11", "tls12", "tls13"}

func quitStanza(l *Listener) stanza {
	return stanza{doc: "The administrative API.", keys: []key{{name: "enable_quit", to: &l.EnableQuit, doc: "a POST to …/v1/quit ends envexec"}}}
}

// addInert lists what Vault's agent and proxy parse and then ignore.
func addInert(s *stanza) {
	const why = "Vault's agent and proxy ignore it too"
	for _, name := range []string{"http_read_timeout", "http_write_timeout", "max_request_duration",
		"max_request_json_memory", "max_request_json_strings", "max_request_json_entry_count", "max_request_json_array_element_count",
		"max_json_depth", "max_json_string_value_length", "max_json_object_entry_count", "max_json_array_element_count", "max_json_token_count",
		"proxy_protocol_behavior", "proxy_protocol_authorized_addrs", "x_forwarded_for_authorized_addrs", "x_forwarded_for_hop_skips",
		"x_forwarded_for_reject_not_present", "x_forwarded_for_reject_not_authorized", "x_forwarded_for_client_cert_header",
		"x_forwarded_for_client_cert_header_decoders", "cors_enabled", "cors_allowed_origins", "cors_allowed_headers", "chroot_namespace",
		"redact_addresses", "redact_cluster_name", "redact_version", "cluster_address", "purpose", "disable_request_limiter",
		"disable_replication_status_endpoints", "disable_unauthed_rekey_endpoints"} {
		s.keys = append(s.keys, key{name: name, to: new(string), why: why})
	}
	for _, name := range []string{"telemetry", "profiling", "inflight_requests_logging", "custom_response_headers"} {
		s.blocks = append(s.blocks, block{name: name, why: why})
	}
}

func checkListener(d *decoder, b body, l *Listener) {
	if l.Type == "" {
		d.doubt(b.pos, d.key("type"), "missing", `write listener "tcp" { … } or listener "unix" { … }`)
		return
	}
	if l.Address == "" {
		if l.Type == "unix" {
			d.doubt(b.pos, d.key("address"), "missing", "a unix listener needs a path")
		} else {
			l.Address = "127.0.0.1:8200"
		}
	}
	if l.Type == "tcp" && !strings.Contains(l.Address, "{{") {
		l.Address = normalHost(l.Address)
		if err := hostPort(l.Address); err != nil {
			d.doubt(b.pos, d.key("address"), err.Error(), "")
		}
	}
	for _, name := range l.TLSCipherSuites {
		if !slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name }) {
			d.doubt(b.pos, d.key("tls_cipher_suites"), fmt.Sprintf("%q is no cipher suite that is safe", name), "")
		}
	}
	if !l.TLSDisable && (l.TLSCertFile == "" || l.TLSKeyFile == "") {
		d.doubt(b.pos, d.key("tls_cert_file"), "tls_cert_file and tls_key_file are missing", "write tls_disable = true for a listener without TLS")
	}
	if slices.Index(tlsVersions, l.TLSMinVersion) > slices.Index(tlsVersions, l.TLSMaxVersion) {
		d.doubt(b.pos, d.key("tls_min_version"), "is above tls_max_version", "")
	}
	if l.TLSRequireClientCert && l.TLSDisableClientCert {
		d.doubt(b.pos, d.key("tls_disable_client_certs"), "contradicts tls_require_and_verify_client_cert", "")
	}
}

func telemetryStanza(c *Config) stanza {
	t := &c.Telemetry
	const why = "metrics are served by the listeners, nothing is sent"
	const gauge = "it is about a Vault server's own gauges"
	s := stanza{
		doc: "The metrics the listeners serve.",
		reset: func() {
			*t = defaults().Telemetry
			t.Enabled = true
		},
		keys: []key{
			{name: "metrics_prefix", to: &t.Prefix, doc: "first part of every name"},
			{name: "prometheus_retention_time", to: &t.PrometheusRetention, doc: "0 switches Prometheus' form off; nothing is kept for longer than its request"},
			{name: "disable_hostname", to: &t.DisableHostname, doc: "no host name in names"},
			{name: "enable_hostname_label", to: &t.EnableHostnameLabel, doc: "host name as a label"},
			{name: "statsd_address", to: &t.StatsdAddress, doc: "HOST:PORT of statsd", example: `"127.0.0.1:8125"`},
			{name: "statsite_address", to: &t.StatsiteAddress, doc: "HOST:PORT of statsite", example: `"127.0.0.1:8125"`},
			{name: "dogstatsd_addr", to: &t.DogstatsdAddress, doc: "HOST:PORT of DogStatsD", example: `"127.0.0.1:8125"`},
			{name: "dogstatsd_tags", to: &t.DogstatsdTags, doc: "tags of every metric", example: `["env:prod"]`},
			{name: "filter_default", to: &t.FilterDefault, doc: "metrics no prefix_filter names are sent"},
			{name: "prefix_filter", to: &t.PrefixFilter, doc: "+prefix to send, -prefix not to", example: `["-vault.runtime"]`},
		},
	}
	for i := range s.keys[2:] {
		s.keys[i+2].why = "metrics are only served, in Prometheus' form or as JSON, by the listeners"
	}
	for _, name := range []string{"circonus_api_token", "circonus_api_app", "circonus_api_url", "circonus_submission_interval", "circonus_submission_url", "circonus_check_id",
		"circonus_check_force_metric_activation", "circonus_check_instance_id", "circonus_check_search_tag", "circonus_check_display_name", "circonus_check_tags",
		"circonus_broker_id", "circonus_broker_select_tag", "stackdriver_project_id", "stackdriver_location", "stackdriver_namespace", "stackdriver_debug_logs"} {
		s.keys = append(s.keys, key{name: name, to: new(string), why: why})
	}
	for _, name := range []string{"usage_gauge_period", "maximum_gauge_cardinality", "lease_metrics_epsilon", "num_lease_metrics_buckets",
		"add_lease_metrics_namespace_labels", "add_mount_point_rollback_metrics", "rollback_metrics_include_mount_point"} {
		s.keys = append(s.keys, key{name: name, to: new(string), why: gauge})
	}
	return s
}
