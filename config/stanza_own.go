package config

import (
	"fmt"
	"strings"
	"time"
)

// ownStanzas are what Vault lacks.
func ownStanzas(c *Config) []block {
	return []block{
		{name: "env", many: true, ours: true, open: func() stanza { return envStanza(c) }},
		{name: "from", many: true, ours: true, open: func() stanza { return fromStanza(c) }},
		{name: "file", many: true, ours: true, open: func() stanza { return fileStanza(c) }},
		{name: "program", ours: true, open: func() stanza { return programStanza(c) }},
		{name: "environment", ours: true, open: func() stanza { return environmentStanza(c) }},
		{name: "change", ours: true, open: func() stanza { return changeStanza(c) }},
		{name: "restart", ours: true, open: func() stanza { return restartStanza(c) }},
		{name: "stop", ours: true, open: func() stanza { return stopStanza(c) }},
		{name: "ready", ours: true, open: func() stanza { return readyStanza(c) }},
		{name: "listen", many: true, ours: true, open: func() stanza { return listenStanza(c) }},
		{name: "start", ours: true, open: func() stanza { return startStanza(c) }},
		{name: "secrets", ours: true, open: func() stanza { return secretsStanza(c) }},
	}
}

func refreshKey(to *time.Duration) key {
	return key{name: "refresh", ours: true, to: to, def: "as static_secret_render_interval", doc: "how often these secrets are read again", example: `"30s"`}
}

func deliveryKey(to *string) key {
	return key{name: "delivery", ours: true, to: to, allow: []string{"value", "file", "memfd"},
		doc: "value, or NAME_FILE with the path of a private file (file on tmpfs, memfd without one)", example: `"file"`}
}

// changeRuleBlock is on_change inside a secret: what its change does to the program.
func changeRuleBlock(r *ChangeRule) block {
	return block{name: "on_change", ours: true, open: func() stanza {
		return stanza{doc: "What a change of this secret does, where it differs from the change stanza.", keys: []key{
			{name: "policy", to: &r.Policy, allow: policies, def: "as change.policy", doc: strings.Join(policies, ", "), example: `"signal"`},
			{name: "signal", to: &r.Signal, doc: "for policy signal", def: "as change.signal", example: `"SIGHUP"`, check: func(s string) error { return checkSignal(&r.Signal, s) }},
			{name: "hook", to: &r.Hook, doc: "for policy hook: program and arguments", example: `["/app/reload"]`},
		}, done: func(d *decoder, b body) {
			if r.Policy == "" {
				d.doubt(b.pos, d.key("policy"), "missing", choose("", policies))
			}
		}}
	}}
}

func envStanza(c *Config) stanza {
	v := Variable{Delivery: "value"}
	var secret, value, fallback string
	return stanza{
		doc:   "One variable from one key of a secret.",
		label: &label{doc: "the variable's name", to: &v.Name},
		keys: []key{
			{name: "secret", to: &secret, doc: "PATH#KEY or PATH#KEY#VERSION", example: `"secret/app#password"`},
			{name: "value", to: &value, doc: "instead of secret: text with ${vault:PATH#KEY} in it; write $${ in HCL, which keeps ${ for itself", example: `"postgres://app:$${vault:secret/db#password}@db/app"`},
			{name: "optional", to: &v.Optional, doc: "no error when the secret or key is absent: default, or no variable"},
			{name: "default", to: &fallback, doc: "value when it is absent", example: `"none"`, read: func(d *decoder, it item) {
				if s, ok := d.text(it, key{name: "default", to: &fallback}); ok {
					v.Default, v.HasDefault, v.Optional = s, true, true
				}
			}},
			refreshKey(&v.Refresh), deliveryKey(&v.Delivery),
		},
		blocks: []block{changeRuleBlock(&v.OnChange)},
		done: func(d *decoder, b body) {
			v.Pos = b.pos
			switch {
			case v.Name == "":
				d.doubt(b.pos, "env", "missing name", `write env "NAME" { … }`)
			case (secret == "") == (value == ""):
				d.doubt(b.pos, d.key("secret"), "one of secret and value must be given", "")
			default:
				if err := v.refer(secret + strings.ReplaceAll(value, "$${", "${")); err != nil {
					d.doubt(b.pos, d.key("secret"), err.Error(), "")
				}
			}
			c.Secrets.Variables = append(c.Secrets.Variables, v)
		},
	}
}

func fromStanza(c *Config) stanza {
	f := From{Delivery: "value"}
	return stanza{
		doc:   "All keys of one secret as variables.",
		label: &label{doc: "the secret's path", to: &f.Path},
		keys: []key{
			{name: "version", to: &f.Version, doc: "version of a KV v2 secret; 0 = the newest", example: "3"},
			{name: "prefix", to: &f.Prefix, doc: "put before each name", example: `"APP_"`},
			{name: "upcase", to: &f.Upcase, doc: "upper-case names"},
			{name: "keys", to: &f.Keys, doc: "only these keys", example: `["user", "password"]`},
			{name: "optional", to: &f.Optional, doc: "no error when the secret is absent"},
			refreshKey(&f.Refresh), deliveryKey(&f.Delivery),
		},
		blocks: []block{changeRuleBlock(&f.OnChange)},
		done: func(d *decoder, b body) {
			f.Pos = b.pos
			if f.Path = strings.Trim(f.Path, "/"); f.Path == "" {
				d.doubt(b.pos, "from", "missing path", `write from "secret/app" { }`)
			}
			c.Secrets.From = append(c.Secrets.From, f)
		},
	}
}

func fileStanza(c *Config) stanza {
	f := RenderFile{Mode: 0o600}
	var secret, source string
	return stanza{
		doc:   "A file from one key of a secret, or from a template file.",
		label: &label{doc: "the file", to: &f.Destination},
		keys: []key{
			{name: "secret", to: &secret, doc: "PATH#KEY or PATH#KEY#VERSION", example: `"secret/tls#cert"`},
			{name: "source", to: &source, doc: "instead of secret: a template file", example: `"/etc/app/app.tpl"`},
			{name: "mode", to: &f.Mode, doc: "octal mode", example: `"0600"`},
			{name: "user", to: &f.User, doc: "owner, name or id", example: `"app"`},
			{name: "group", to: &f.Group, doc: "group, name or id", example: `"app"`},
			{name: "optional", to: &f.Optional, doc: "no error when the secret is absent"},
			{name: "encoding", to: &f.Encoding, allow: []string{"", "base64"}, doc: "base64: decode the value before writing it", example: `"base64"`},
			refreshKey(&f.Refresh),
		},
		blocks: []block{changeRuleBlock(&f.OnChange)},
		done: func(d *decoder, b body) {
			f.Pos = b.pos
			switch {
			case f.Destination == "":
				d.doubt(b.pos, "file", "missing destination", `write file "/run/app/cert.pem" { … }`)
			case (secret == "") == (source == ""):
				d.doubt(b.pos, d.key("secret"), "one of secret and source must be given", "")
			case source != "":
				f.Source = source
			default:
				if r, err := parseReference(secret); err != nil {
					d.doubt(b.pos, d.key("secret"), err.Error(), "")
				} else {
					f.Reference, f.Path, f.Key, f.Version = strings.TrimPrefix(secret, "vault:"), r.path, r.key, r.version
				}
			}
			c.Secrets.RenderFiles = append(c.Secrets.RenderFiles, f)
		},
	}
}

func programStanza(c *Config) stanza {
	p := &c.Program
	return stanza{
		doc: "How the program runs. Its command is in exec, or behind -- on the command line.",
		reset: func() {
			*p = Program{Args: p.Args, Stdout: p.Stdout, Stderr: p.Stderr, FromFile: p.FromFile, Pos: p.Pos}
			c.noReaper, c.noRaise, c.signalMap, c.mapExit = Unset, Unset, nil, nil
		},
		keys: []key{
			{name: "dir", to: &p.Dir, doc: "working directory", example: `"/app"`},
			{name: "user", to: &p.User, doc: "run it as this user[:group]", example: `"app:app"`},
			{name: "exec", to: &p.Exec, doc: "become the program: no supervision, no rotation"},
			{name: "signal_map", to: &c.signalMap, doc: "FROM=TO signals; TO 0 drops it", example: `["TERM=QUIT"]`, read: func(d *decoder, it item) {
				if list, ok := d.strings(it, key{name: it.name, to: &c.signalMap}); ok {
					c.signalMap = list
					p.SignalMap = each(d, it, list, parseSignalPair)
				}
			}},
			{name: "signal_group", to: &p.SignalGroup, doc: "signals go to the program's whole process group"},
			{name: "subreaper", to: &c.noReaper, def: "true", doc: "adopt and reap its orphans", example: "true"},
			{name: "reraise", to: &c.noRaise, def: "true", doc: "die of its signal instead of ending with 128+n", example: "true"},
			{name: "map_exit", to: &c.mapExit, doc: "FROM=TO exit statuses", example: `["143=0"]`, read: func(d *decoder, it item) {
				if list, ok := d.strings(it, key{name: it.name, to: &c.mapExit}); ok {
					c.mapExit = list
					p.MapExit = each(d, it, list, parseStatusPair)
				}
			}},
		},
	}
}

// each reads every element of a list and reports those it cannot.
func each[T any](d *decoder, it item, list []string, read func(string) (T, error)) []T {
	var all []T
	for _, text := range list {
		v, err := read(text)
		if err != nil {
			d.doubt(it.pos, d.key(it.name), err.Error(), "")
			continue
		}
		all = append(all, v)
	}
	return all
}

func environmentStanza(c *Config) stanza {
	e := &c.Environment
	return stanza{
		doc:   "What the program inherits.",
		reset: func() { *e = defaults().Environment },
		keys: []key{
			{name: "files", to: &e.Files, doc: "env files with NAME=VALUE lines, later ones win", example: `["/etc/app/env"]`},
			{name: "clear", to: &e.Clear, doc: "inherit nothing but what keep names"},
			{name: "keep", to: &e.Keep, doc: "names or globs kept although cleared or stripped", example: `["LANG", "LC_*"]`},
			{name: "on_conflict", to: &e.OnConflict, allow: []string{"override", "keep", "error"}, doc: "a secret and an inherited variable of one name: the secret wins, the inherited one, or an error"},
		},
	}
}

func changeStanza(c *Config) stanza {
	g := &c.Change
	return stanza{
		doc:   "What a changed secret does to the program.",
		reset: func() { *g = defaultChange() },
		keys: []key{
			{name: "policy", to: &g.Policy, allow: policies, doc: strings.Join(policies, ", "), example: `"signal"`},
			{name: "signal", to: &g.Signal, doc: "for policy signal", check: func(s string) error { return checkSignal(&g.Signal, s) }},
			{name: "hook", to: &g.Hook, doc: "for policy hook: program and arguments", example: `["/app/reload"]`},
			{name: "exit_code", to: &g.ExitCode, doc: "for policy exit: our status"},
			{name: "quiet", to: &g.Quiet, doc: "act when nothing changed for this long"},
			{name: "quiet_max", to: &g.QuietMax, doc: "but at the latest after this"},
			{name: "splay", to: &g.Splay, doc: "random pause of at most this before acting"},
			{name: "min_uptime", to: &g.MinUptime, doc: "a new program counts as good after this"},
			{name: "soak", to: &g.Soak, doc: "overlap: both run this long after the new one is ready"},
			{name: "limit", to: &g.Limit, doc: "at most this many changes in interval; 0 = no limit", example: "5"},
			{name: "interval", to: &g.Interval, doc: "see limit", example: `"1h"`},
			{name: "window", to: &g.Window, doc: "act only between these local times", example: `"02:00-04:00"`, check: checkWindow},
		},
	}
}

func checkWindow(s string) error {
	if s == "" {
		return nil
	}
	from, to, ok := strings.Cut(s, "-")
	_, err1 := time.Parse("15:04", from)
	_, err2 := time.Parse("15:04", to)
	if !ok || err1 != nil || err2 != nil || from == to {
		return fmt.Errorf("%q is not HH:MM-HH:MM", s)
	}
	return nil
}
