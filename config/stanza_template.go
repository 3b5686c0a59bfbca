package config

import (
	"fmt"
	"strings"
	"time"
)

func templateConfigStanza(c *Config) stanza {
	s := &c.Secrets
	return stanza{
		doc:  "What holds for all templates.",
		mild: true,
		reset: func() {
			def := defaults()
			s.ExitOnRetryFailure, s.Refresh, s.RenewalThreshold = Unset, def.Secrets.Refresh, def.Secrets.RenewalThreshold
			c.Vault.MaxConnections = def.Vault.MaxConnections
		},
		keys: []key{
			{name: "exit_on_retry_failure", to: &s.ExitOnRetryFailure, def: "unset", doc: "true ends when a secret cannot be read, false keeps trying; unset ends only at what cannot heal before the first start", example: "true"},
			{name: "static_secret_render_interval", to: &s.Refresh, doc: "how often static secrets are read again", check: func(string) error { return orDefault(&s.Refresh, 5*time.Minute) }},
			{name: "max_connections_per_host", to: &c.Vault.MaxConnections, doc: "connections to Vault; 0 = unlimited"},
			{name: "lease_renewal_threshold", to: &s.RenewalThreshold, doc: "fraction of a lease's life after which it is replaced", check: func(string) error { return checkFraction(s.RenewalThreshold) }},
		},
	}
}

func templateStanza(c *Config) stanza {
	t := defaultTemplate()
	s := stanza{
		doc:   "One rendered file.",
		again: func() { t = defaultTemplate() },
		keys: append(contentKeys(&t.Source, &t.Contents, &t.LeftDelimiter, &t.RightDelimiter, &t.FunctionDenylist, &t.ErrorOnMissingKey, &t.ErrorFatal), []key{
			{name: "destination", to: &t.Destination, doc: "the file", example: `"/run/app/app.conf"`},
			{name: "create_dest_dirs", to: &t.CreateDestDirs, doc: "make missing directories (0755)"},
			{name: "perms", to: &t.Perms, def: "as before, else 0644", doc: "octal mode of the file", example: `"0640"`},
			{name: "user", to: &t.User, doc: "owner, name or id", example: `"app"`, aliases: []string{"uid"}},
			{name: "group", to: &t.Group, doc: "group, name or id", example: `"app"`, aliases: []string{"gid"}},
			{name: "backup", to: &t.Backup, doc: "keep the last file as DESTINATION.bak"},
			{name: "command", to: &t.Command, doc: "run after a change; a lone string is a shell line", example: `["nginx", "-s", "reload"]`},
			{name: "command_timeout", to: &t.CommandTimeout, doc: "the command is killed after this"},
			{name: "sandbox_path", to: &t.SandboxPath, doc: "functions file and writeToFile stay below it", example: `"/run/app"`},
			{name: "wait", many: true, to: new(string), doc: `quiet period "min:max"`, example: `"1s:5s"`, read: func(d *decoder, it item) { readWait(d, it, &t.WaitMin, &t.WaitMax) }},
		}...),
		blocks: []block{{name: "exec", many: true, open: func() stanza { return templateExec(&t) }}},
		done: func(d *decoder, b body) {
			t.Pos = b.pos
			checkContents(d, b, t.Source, t.Contents)
			if t.Destination == "" {
				d.doubt(b.pos, d.key("destination"), "missing", "a template needs the file it is written to")
			}
			c.Secrets.Templates = append(c.Secrets.Templates, t)
		},
	}
	s.keys = append(s.keys, refreshKey(&t.Refresh))
	s.blocks = append(s.blocks, changeRuleBlock(&t.OnChange))
	return s
}

func contentKeys(source, contents, left, right *string, deny *[]string, missing, fatal *Choice) []key {
	return []key{
		{name: "source", to: source, doc: "template file; or contents", example: `"/etc/app/app.tpl"`},
		{name: "contents", to: contents, doc: "the template itself; or source", example: `"{{ with secret \"kv/app\" }}{{ .Data.password }}{{ end }}"`},
		{name: "error_on_missing_key", to: missing, def: "true", doc: "an absent key is an error; an explicit false gives empty text and a warning", example: "true"},
		{name: "error_fatal", to: fatal, def: "true", doc: "a failing template ends envexec before the first start", example: "true"},
		{name: "left_delimiter", to: left, doc: "instead of {{", example: `"[["`},
		{name: "right_delimiter", to: right, doc: "instead of }}", example: `"]]"`},
		{name: "function_denylist", to: deny, aliases: []string{"function_blacklist"}, weak: true, doc: "functions a template may not call; globs", example: `["env", "sprig_*"]`},
	}
}

func checkContents(d *decoder, b body, source, contents string) {
	switch {
	case source == "" && contents == "":
		d.doubt(b.pos, d.key("contents"), "missing: one of source and contents must be given", "")
	case source != "" && contents != "":
		d.doubt(b.pos, d.key("contents"), "only one of source and contents may be given", "")
	}
}

// readWait takes wait = "min:max" and wait { min = … max = … }.
func readWait(d *decoder, it item, shortest, longest *time.Duration) {
	var parts []string
	if s, ok := it.scalar(); ok {
		parts = strings.SplitN(s.text, ":", 2)
	} else if bodies, ok := it.bodies(); ok {
		parts = []string{"", ""}
		for _, e := range bodies[len(bodies)-1].items {
			s, _ := e.scalar()
			switch e.name {
			case "min":
				parts[0] = s.text
			case "max":
				parts[1] = s.text
			case "enabled":
			default:
				d.doubt(e.pos, d.key("wait."+e.name), "unknown key", "known here: min, max")
			}
		}
	}
	var err error
	*longest = 0
	for i, to := range []*time.Duration{shortest, longest} {
		if i < len(parts) && err == nil {
			*to, err = parseDuration(parts[i])
		}
	}
	if err != nil || len(parts) == 0 {
		d.doubt(it.pos, d.key("wait"), "must be \"min:max\" in durations", "")
		return
	}
	if *longest == 0 {
		*longest = 4 * *shortest
	}
}

func templateExec(t *Template) stanza {
	var enabled Choice
	var kill time.Duration
	return stanza{
		doc: "Run after a change of the file.",
		reset: func() {
			t.Command, t.CommandSplay, t.CommandEnv = nil, 0, CommandEnv{}
		},
		keys: []key{
			{name: "command", to: &t.Command, doc: "program and arguments", example: `["nginx", "-s", "reload"]`},
			{name: "timeout", to: &t.CommandTimeout, doc: "killed after this"},
			{name: "splay", to: &t.CommandSplay, doc: "random pause before it"},
			{name: "enabled", to: &enabled, def: "true", doc: "false switches it off", example: "false"},
			{name: "kill_timeout", to: &kill, doc: "pause before KILL", why: "it is killed when its timeout is over"},
			{name: "kill_signal", to: new(string), doc: "signal before KILL", why: "it is killed when its timeout is over"},
			{name: "reload_signal", to: new(string), doc: "signal to reload it", why: "it is run anew at each change"},
		},
		blocks: []block{{name: "env", open: func() stanza {
			return stanza{doc: "The command's environment.", keys: []key{
				{name: "pristine", to: &t.CommandEnv.Pristine, doc: "start from nothing"},
				{name: "custom", to: &t.CommandEnv.Custom, doc: "NAME=VALUE entries added", example: `["LANG=C"]`},
				{name: "allowlist", aliases: []string{"whitelist"}, to: &t.CommandEnv.Allowlist, doc: "only these; globs", example: `["PATH"]`},
				{name: "denylist", aliases: []string{"blacklist"}, to: &t.CommandEnv.Denylist, doc: "not these; globs", example: `["AWS_*"]`},
			}}
		}}},
		done: func(*decoder, body) {
			if enabled == No {
				t.Command = nil
			}
		},
	}
}

func envTemplateStanza(c *Config) stanza {
	t := defaultEnvTemplate()
	s := stanza{
		doc:   "One environment variable of the program.",
		again: func() { t = defaultEnvTemplate() },
		label: &label{doc: "the variable's name", to: &t.Name},
		keys: append(contentKeys(&t.Source, &t.Contents, &t.LeftDelimiter, &t.RightDelimiter, &t.FunctionDenylist, &t.ErrorOnMissingKey, &t.ErrorFatal),
			refreshKey(&t.Refresh), deliveryKey(&t.Delivery)),
		blocks: []block{changeRuleBlock(&t.OnChange)},
		done: func(d *decoder, b body) {
			t.Pos = b.pos
			switch {
			case t.Name == "":
				d.doubt(b.pos, d.key("")+"NAME", "missing", `write env_template "NAME" { … }`)
			case strings.ContainsAny(t.Name, "=\x00"):
				d.doubt(b.pos, d.key("")+"NAME", fmt.Sprintf("%q is no name a variable can have", t.Name), "")
			}
			checkContents(d, b, t.Source, t.Contents)
			c.Secrets.EnvTemplates = append(c.Secrets.EnvTemplates, t)
		},
	}
	for _, name := range []string{"backup", "command", "command_timeout", "create_dest_dirs", "destination", "exec", "perms", "user", "uid", "group", "gid", "wait", "sandbox_path"} {
		s.keys = append(s.keys, key{name: name, to: new(string), read: func(d *decoder, it item) {
			d.doubt(it.pos, d.key(it.name), "not allowed here: a variable is no file", "use a template stanza")
		}})
	}
	return s
}

func execStanza(c *Config) stanza {
	p := &c.Program
	return stanza{
		doc:   "The program. What stands behind -- on the command line goes before it.",
		reset: func() { p.Args, p.Stdout, p.Stderr, c.execPolicy, c.execSignal = nil, "", "", "", "TERM" },
		keys: []key{
			{name: "command", to: &p.Args, doc: "program and arguments", example: `["/app/server", "--port", "8080"]`},
			{name: "restart_on_secret_changes", to: &c.execPolicy, def: "always", doc: "always restarts, never leaves the program alone; our change stanza has more", example: `"always"`, read: func(d *decoder, it item) {
				s, _ := it.scalar()
				switch s.text {
				case "always":
					c.execPolicy = "restart"
				case "never":
					c.execPolicy = "none"
				default:
					d.doubt(it.pos, d.key(it.name), oneOf(s.text, "always", "never").Error(), "")
				}
			}},
			{name: "restart_stop_signal", to: &c.execSignal, doc: "signal that asks the program to stop; empty = only KILL, after the stop timeout", example: `"SIGTERM"`, check: func(s string) error { return checkSignal(&c.execSignal, s) }},
			{name: "child_process_stdout", to: &p.Stdout, doc: "append the program's output to this file", example: `"/var/log/app.log"`},
			{name: "child_process_stderr", to: &p.Stderr, doc: "append the program's error output to this file", example: `"/var/log/app.err"`},
		},
		done: func(d *decoder, b body) {
			p.Pos, p.FromFile = b.pos, true
			if len(p.Args) == 0 {
				d.doubt(b.pos, d.key("command"), "missing", `write command = ["/app/server"]`)
			}
		},
	}
}
