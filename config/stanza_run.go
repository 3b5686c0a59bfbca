package config

import "strings"

var conditions = []string{"no", "on-failure", "on-abnormal", "always"}

func restartStanza(c *Config) stanza {
	r := &c.Restart
	return stanza{
		doc:   "What happens when the program ends by itself. Default: envexec ends with its status.",
		reset: func() { *r = defaultRestart() },
		keys: []key{
			{name: "on", to: &r.On, allow: conditions, doc: strings.Join(conditions, ", ")},
			{name: "min_backoff", to: &r.MinBackoff, doc: "first pause, doubled each time, with full jitter", check: checkPositive},
			{name: "max_backoff", to: &r.MaxBackoff, doc: "longest pause", check: checkPositive},
			{name: "reset_after", to: &r.ResetAfter, doc: "pauses begin anew after this much health"},
			{name: "limit", to: &r.Limit, doc: "give up after this many starts in interval; 0 = never"},
			{name: "interval", to: &r.Interval, doc: "see limit"},
			{name: "success", to: &r.Success, doc: "statuses and signals that count as success besides 0", example: `["143", "SIGHUP"]`},
			{name: "prevent", to: &r.Prevent, doc: "statuses and signals after which it is never started again", example: `["125"]`},
			{name: "force", to: &r.Force, doc: "statuses and signals after which it always is", example: `["75"]`},
		},
	}
}

func stopStanza(c *Config) stanza {
	s := &c.Stop
	return stanza{
		doc:   "How the program is stopped for a restart or at the end.",
		reset: func() { *s = defaults().Stop },
		keys: []key{
			{name: "signal", to: &s.Signal, doc: "signal that asks it to stop", check: func(t string) error { return checkSignal(&s.Signal, t) }},
			{name: "timeout", to: &s.Timeout, doc: "until KILL; 0 = wait for ever"},
			{name: "term_timeout", to: &s.TermTimeout, def: "timeout, if that is set or on Windows, else 0", doc: "the same when the stop was asked for from outside", example: `"20s"`},
			{name: "leave_orphans", to: &s.LeaveOrphans, doc: "leave alone what it leaves behind"},
			{name: "grace", to: &s.Grace, doc: "for processes it leaves behind, until KILL"},
		},
	}
}

func readyStanza(c *Config) stanza {
	r := &c.Ready
	return stanza{
		doc:   "How the program says that it is ready. Policy overlap needs notify, fd, exec, or http with header.",
		reset: func() { *r = defaults().Ready },
		keys: []key{
			{name: "type", to: &r.Type, allow: []string{"none", "notify", "fd", "exec", "tcp", "http", "delay"}, doc: "none, notify, fd, exec, tcp, http or delay"},
			{name: "fd", to: &r.FD, doc: "for fd: descriptor on which it writes a line", example: "3"},
			{name: "command", to: &r.Command, doc: "for exec: ready when it ends with 0", example: `["/app/health"]`},
			{name: "address", to: &r.Address, doc: "for tcp HOST:PORT, for http a URL", example: `"http://127.0.0.1:8080/ready"`},
			{name: "header", to: &r.Header, doc: "for http: this header of the answer must equal ENVEXEC_GENERATION", example: `"X-Generation"`},
			{name: "delay", to: &r.Delay, doc: "for delay: ready after this", example: `"2s"`},
			{name: "timeout", to: &r.Timeout, doc: "a program not ready by then has failed"},
		},
		done: func(d *decoder, b body) {
			if err := checkReady(*r); err != nil {
				d.doubt(b.pos, d.key("type"), err.Error(), "")
			}
		},
	}
}

func listenStanza(c *Config) stanza {
	var s Socket
	var address string
	return stanza{
		doc:   "A listening socket envexec holds for the program (LISTEN_FDS).",
		label: &label{doc: "its name in LISTEN_FDNAMES", to: &s.Name},
		keys: []key{
			{name: "address", to: &address, doc: "tcp://HOST:PORT or unix:///PATH", example: `"tcp://:8080"`},
			{name: "mode", to: &s.Mode, def: "0600", doc: "mode of a unix socket", example: `"0660"`},
			{name: "user", to: &s.User, doc: "its owner, name or id", example: `"app"`},
			{name: "group", to: &s.Group, doc: "its group, name or id", example: `"web"`},
		},
		done: func(d *decoder, b body) {
			s.Pos = b.pos
			if err := socketAddress(&s, address); err != nil {
				d.doubt(b.pos, d.key("address"), err.Error(), "")
				return
			}
			c.Sockets = append(c.Sockets, s)
		},
	}
}

func startStanza(c *Config) stanza {
	return stanza{
		doc: "The way to the program's first start.",
		reset: func() {
			c.Start = Start{ExitAfterAuth: c.Start.ExitAfterAuth}
			c.Login.Revoke, c.Login.ProgramToken = true, false
		},
		keys: []key{
			{name: "timeout", to: &c.Start.Timeout, doc: "give up when Vault is unreachable for this long (status 75); 0 = never"},
			{name: "once", to: &c.Start.Once, doc: "read once, never renew or rotate"},
			{name: "reload_signal", to: &c.Start.ReloadSignal, def: "SIGHUP, without a program", doc: "read the configuration anew on this signal", example: `"SIGUSR2"`, check: func(s string) error { return checkSignal(&c.Start.ReloadSignal, s) }},
			{name: "revoke", to: &c.Login.Revoke, doc: "revoke our own token at the end"},
			{name: "program_token", to: &c.Login.ProgramToken, doc: "the program gets VAULT_TOKEN"},
		},
	}
}

func secretsStanza(c *Config) stanza {
	s := &c.Secrets
	return stanza{
		doc: "How secrets are named and read.",
		reset: func() {
			def := defaults().Secrets
			s.References, s.IgnoreMissing, s.RefreshSignal = def.References, def.IgnoreMissing, def.RefreshSignal
			s.TransitKey, s.TransitMount, s.CertMinRemaining = def.TransitKey, def.TransitMount, def.CertMinRemaining
		},
		keys: []key{
			{name: "references", to: &s.References, doc: "expand vault:PATH#KEY in the inherited environment"},
			{name: "ignore_missing", to: &s.IgnoreMissing, doc: "an absent secret is an empty value and a warning"},
			{name: "transit_key", to: &s.TransitKey, doc: "key that decrypts values of the form vault:v1:…", example: `"app"`},
			{name: "transit_mount", to: &s.TransitMount, doc: "where the transit engine is mounted", example: `"crypto/transit"`, check: func(t string) error { return trimMount(&s.TransitMount, t) }},
			{name: "certificate_min_remaining", to: &s.CertMinRemaining, doc: "a certificate is replaced at least this long before its end, but not before half its life", example: `"72h"`},
			{name: "refresh_signal", to: &s.RefreshSignal, doc: "read all static secrets anew on this signal", example: `"SIGUSR1"`, check: func(t string) error { return checkOwnSignal(&s.RefreshSignal, t) }},
		},
	}
}
