package config

func vaultStanza(c *Config) stanza {
	v := &c.Vault
	return stanza{
		doc: "Where Vault is and how it is reached. VAULT_… variables and flags go before it.",
		reset: func() {
			idle, alive, conns := v.DisableIdle, v.DisableKeepAlives, v.MaxConnections
			*v = defaultVault()
			v.DisableIdle, v.DisableKeepAlives, v.MaxConnections = idle, alive, conns
			v.ConfiguredByFile = true
		},
		keys: []key{
			{name: "address", to: &v.Address, doc: "URL of Vault; unix:///path works too", check: func(s string) error { return checkAddress(&v.Address, s) }},
			{name: "ca_cert", to: &v.CACert, doc: "PEM file of certificate authorities; goes before ca_path", example: `"/etc/ssl/vault-ca.pem"`},
			{name: "ca_path", to: &v.CAPath, doc: "directory of PEM files", example: `"/etc/ssl/vault"`},
			{name: "client_cert", to: &v.ClientCert, doc: "PEM file of our certificate; client_key must be given too", example: `"/etc/ssl/app.pem"`},
			{name: "client_key", to: &v.ClientKey, doc: "PEM file of its key", example: `"/etc/ssl/app.key"`},
			{name: "tls_server_name", to: &v.TLSServerName, doc: "name expected in Vault's certificate", example: `"vault.example.org"`},
			{name: "tls_skip_verify", to: &v.TLSSkipVerify, weak: true, doc: "trust any certificate: for tests only"},
			{name: "namespace", to: &v.Namespace, doc: "namespace of all requests", example: `"team/"`},
			{name: "disable_redirects", ours: true, to: &v.DisableRedirects, doc: "do not follow a standby's redirect"},
			{name: "client_timeout", ours: true, to: &v.ClientTimeout, doc: "time one request may take"},
			{name: "rate_limit", ours: true, to: &v.RateLimit, doc: "requests a second, rate[:burst]; empty = no limit", example: `"50:100"`},
			{name: "srv_lookup", ours: true, to: &v.SRVLookup, doc: "look the address up as a DNS SRV record"},
			{name: "proxy_address", ours: true, to: &v.ProxyAddress, doc: "HTTP proxy for requests to Vault only", example: `"http://proxy:3128"`},
			{name: "headers", ours: true, to: &v.Headers, doc: "headers of every request; none may begin with X-Vault-", example: "{ X-Team = \"blue\" }", check: nil},
			{name: "max_concurrent", ours: true, to: &c.Secrets.MaxConcurrent, doc: "requests to Vault at once", check: checkPositive},
		},
		blocks: []block{{name: "retry", open: func() stanza { return retryStanza(v) }}},
	}
}

func retryStanza(v *Vault) stanza {
	return stanza{
		doc:   "How often a proxied request is tried again.",
		reset: func() { v.NumRetries = defaultVault().NumRetries },
		keys: []key{{name: "num_retries", to: &v.NumRetries, doc: "retries; 0 = the default, -1 = none", check: func(string) error {
			v.NumRetries = retries(v.NumRetries)
			return nil
		}}},
	}
}

// retries maps Vault's words: 0 and nothing are 12, -1 is off.
func retries(n int) int {
	switch {
	case n == 0:
		return defaultVault().NumRetries
	case n < 0:
		return 0
	}
	return n
}
