package config

import (
	"fmt"
	"strings"
)

// option is one flag, its variables and where its value goes.
type option struct {
	name   string
	short  string
	env    []string // variables besides ENVEXEC_NAME, which goes before them
	noEnv  bool     // no ENVEXEC_NAME
	arg    string   // what stands behind it in the help text; "" = a switch
	usage  string
	group  string
	to     any
	add    func(text string) error // instead of assigning; called for each mention; --set is the decoder's
	comma  bool                    // one mention may hold a comma list
	lines  bool                    // in a variable, items end with their line, not at a comma
	hidden bool
	common bool   // in the short help
	of     []Word // the commands it is for; nil = the run and most of them
	check  func(text string) error
}

func (o option) variable() string {
	if o.noEnv {
		return ""
	}
	return "ENVEXEC_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// repeats reports whether the option may be given several times.
func (o option) repeats() bool {
	switch o.to.(type) {
	case *[]string, *map[string]string:
		return true
	}
	return o.add != nil
}

// The groups of the help text, in its order.
const (
	groupSecrets  = "Secrets"
	groupLogin    = "Login"
	groupVault    = "Vault"
	groupProgram  = "Program"
	groupChange   = "Change and restart"
	groupReady    = "Readiness and sockets"
	groupListener = "Vault listener"
	groupGeneral  = "General"
)

// options is the one list of flags, around the Config they fill.
func options(c *Config, l *loginFlags) []option {
	var all []option
	for _, part := range [][]option{secretOptions(c), loginOptions(c, l), vaultOptions(c), programOptions(c), changeOptions(c), readyOptions(c), generalOptions(c)} {
		all = append(all, part...)
	}
	return all
}

func secretOptions(c *Config) []option {
	s := &c.Secrets
	g := groupSecrets
	return []option{
		{name: "config", common: true, group: g, arg: "PATH", to: &c.Files, usage: "Vault Agent or Proxy file or directory"},
		{name: "set", group: g, arg: "KEY=VALUE|STANZA", lines: true, hidden: true, usage: "any key of the configuration reference over the files, by its dotted name or as a stanza", add: func(string) error { return nil }},
		{name: "env", common: true, short: "e", group: g, arg: "NAME=PATH#KEY[#VERSION]", lines: true, usage: "one variable from one key of a secret", add: func(t string) error {
			v, err := parseVariable(t)
			return push(&s.Variables, v, err)
		}},
		{name: "from", common: true, group: g, arg: "PATH", usage: "all keys of a secret as variables", env: []string{"VAULT_ENV_FROM_PATH"}, add: func(t string) error {
			f, err := parseFrom(t)
			return push(&s.From, f, err)
		}},
		{name: "prefix", group: g, arg: "TEXT", to: new(string), usage: "put before the names of --from"},
		{name: "upcase", group: g, to: &s.Upcase, usage: "upper-case the names of --from"},
		{name: "file", common: true, group: g, arg: "FILE=PATH#KEY|TEMPLATE", lines: true, usage: "a file from a secret or a template", add: func(t string) error {
			f, err := parseFileFlag(t)
			return push(&s.RenderFiles, f, err)
		}},
		{name: "env-file", group: g, arg: "FILE", to: &c.Environment.Files, usage: "read NAME=VALUE lines into the environment"},
		{name: "references", group: g, to: &s.References, usage: "expand vault:PATH#KEY in the environment (default true)"},
		{name: "refresh", group: g, arg: "[PATH=]DURATION", usage: "re-read static secrets this often (default 5m)", add: func(t string) error { return addRefresh(s, t) }},
		{name: "refresh-signal", group: g, arg: "SIGNAL", to: &s.RefreshSignal, usage: "re-read them now on this signal", check: func(t string) error { return checkOwnSignal(&s.RefreshSignal, t) }},
		{name: "ignore-missing", group: g, env: []string{"VAULT_IGNORE_MISSING_SECRETS"}, to: &s.IgnoreMissing, usage: "an absent secret is an empty value and a warning"},
		{name: "transit-key", group: g, arg: "NAME", env: []string{"VAULT_TRANSIT_KEY_ID"}, to: &s.TransitKey, usage: "key that decrypts values of the form vault:v1:…"},
		{name: "transit-mount", group: g, arg: "PATH", env: []string{"VAULT_TRANSIT_PATH"}, to: &s.TransitMount, usage: "where the transit engine is mounted (default transit)", check: func(t string) error { return trimMount(&s.TransitMount, t) }},
		{name: "as-file", group: g, arg: "NAME[=memfd]", usage: "deliver the variable NAME as NAME_FILE, the path of a private file in memory", add: func(t string) error { return push(&c.asFile, t, nil) }},
	}
}

// addRule reads POLICY for the program or NAME=POLICY for one variable.
func (c *Config) addRule(text string) error {
	name, policy, named := strings.Cut(text, "=")
	if !named || strings.ContainsAny(name, ": /") {
		policy, named = text, false
	}
	rule, code, err := parseRule(policy)
	switch {
	case err != nil:
		return err
	case named:
		c.Secrets.Named = append(c.Secrets.Named, Named{Name: name, OnChange: rule})
	default:
		c.Change.Policy, c.Change.ExitCode = rule.Policy, code
		if rule.Signal != "" {
			c.Change.Signal = rule.Signal
		}
		if rule.Hook != nil {
			c.Change.Hook = rule.Hook
		}
	}
	return nil
}

func push[T any](list *[]T, v T, err error) error {
	if err == nil {
		*list = append(*list, v)
	}
	return err
}

func addRefresh(s *Secrets, text string) error {
	path, span := "", text
	if i := strings.LastIndexByte(text, '='); i >= 0 {
		path, span = strings.Trim(text[:i], "/"), text[i+1:]
	}
	d, err := parseDuration(span)
	switch {
	case err != nil:
		return err
	case d <= 0:
		return fmt.Errorf("%q is not positive", span)
	case path == "":
		s.Refresh = d
	default:
		s.RefreshPaths = append(s.RefreshPaths, RefreshPath{path, d})
	}
	return nil
}

func loginOptions(c *Config, l *loginFlags) []option {
	g := groupLogin
	return []option{
		{name: "auth", common: true, group: g, arg: "METHOD", env: []string{"VAULT_AUTH_METHOD"}, to: &l.method, usage: "log in by this method"},
		{name: "auth-config", group: g, arg: "KEY=VALUE", lines: true, usage: "a setting of the method, as in its config stanza", add: func(t string) error { return l.addSetting(t) }},
		{name: "auth-path", group: g, arg: "PATH", env: []string{"VAULT_AUTH_PATH"}, to: &l.mount, usage: "where the method is mounted (default auth/METHOD)"},
		{name: "auth-namespace", group: g, arg: "NS", to: &l.namespace, usage: "namespace of the login only"},
		{name: "role", common: true, group: g, arg: "NAME", env: []string{"VAULT_ROLE"}, to: &l.role, usage: "role to log in as"},
		{name: "token-file", group: g, arg: "FILE", noEnv: true, to: &l.tokenFile, usage: "use the token in this file"},
		{name: "no-revoke", group: g, to: &l.noRevoke, usage: "leave our token alive at the end"},
		{name: "program-token", group: g, to: &c.Login.ProgramToken, usage: "the program gets VAULT_TOKEN"},
		{name: "start-timeout", group: g, arg: "DURATION", to: &c.Start.Timeout, usage: "give up when Vault cannot be reached (default: never; 1m with --once)"},
	}
}

func vaultOptions(c *Config) []option {
	v := &c.Vault
	g := groupVault
	return []option{
		{name: "address", common: true, group: g, arg: "URL", env: []string{"VAULT_ADDR"}, to: &v.Address, usage: "where Vault is", check: func(t string) error { return checkAddress(&v.Address, t) }},
		{name: "namespace", common: true, group: g, arg: "NS", env: []string{"VAULT_NAMESPACE"}, to: &v.Namespace, usage: "namespace of all requests", check: func(t string) error { v.Namespace = namespace(t); return nil }},
		{name: "ca-cert", group: g, arg: "FILE", env: []string{"VAULT_CACERT"}, to: &v.CACert, usage: "certificate authorities"},
		{name: "ca-cert-bytes", group: g, arg: "PEM", env: []string{"VAULT_CACERT_BYTES"}, to: &v.CACertBytes, hidden: true, usage: "the same as text"},
		{name: "ca-path", group: g, arg: "DIR", env: []string{"VAULT_CAPATH"}, to: &v.CAPath, usage: "directory of certificate authorities"},
		{name: "client-cert", group: g, arg: "FILE", env: []string{"VAULT_CLIENT_CERT"}, to: &v.ClientCert, usage: "our certificate"},
		{name: "client-key", group: g, arg: "FILE", env: []string{"VAULT_CLIENT_KEY"}, to: &v.ClientKey, usage: "its key"},
		{name: "tls-server-name", group: g, arg: "NAME", env: []string{"VAULT_TLS_SERVER_NAME"}, to: &v.TLSServerName, usage: "name in Vault's certificate"},
		{name: "tls-skip-verify", group: g, env: []string{"VAULT_SKIP_VERIFY"}, to: &v.TLSSkipVerify, usage: "trust any certificate: for tests only"},
		{name: "disable-redirects", group: g, env: []string{"VAULT_DISABLE_REDIRECTS"}, to: &v.DisableRedirects, hidden: true, usage: "do not follow redirects"},
		{name: "client-timeout", group: g, arg: "DURATION", env: []string{"VAULT_CLIENT_TIMEOUT"}, to: &v.ClientTimeout, hidden: true, usage: "time one request may take (default 1m)"},
		{name: "max-retries", group: g, arg: "N", env: []string{"VAULT_MAX_RETRIES"}, to: &v.NumRetries, hidden: true, usage: "retries of proxied requests (default 12)"},
		{name: "rate-limit", group: g, arg: "RATE[:BURST]", env: []string{"VAULT_RATE_LIMIT"}, to: &v.RateLimit, hidden: true, usage: "requests a second", check: checkRate},
		{name: "srv-lookup", group: g, env: []string{"VAULT_SRV_LOOKUP"}, to: &v.SRVLookup, hidden: true, usage: "look the address up as DNS SRV"},
		{name: "vault-proxy", group: g, arg: "URL", env: []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY"}, to: &v.ProxyAddress, hidden: true, usage: "HTTP proxy for Vault only"},
		{name: "header", group: g, arg: "NAME=VALUE", lines: true, to: &v.Headers, hidden: true, usage: "header of every request"},
		{name: "max-concurrent", group: g, arg: "N", to: &c.Secrets.MaxConcurrent, hidden: true, usage: "requests to Vault at once (default 8)", check: checkPositive},
	}
}

func programOptions(c *Config) []option {
	p, e := &c.Program, &c.Environment
	g := groupProgram
	return []option{
		{name: "user", group: g, arg: "NAME[:GROUP]", to: &p.User, usage: "run the program as this user"},
		{name: "chdir", group: g, arg: "DIR", to: &p.Dir, usage: "run it in this directory"},
		{name: "clear-env", group: g, to: &e.Clear, usage: "it inherits nothing but --keep-env"},
		{name: "keep-env", group: g, arg: "LIST", to: &e.Keep, usage: "names or globs it keeps, also of stripped credentials"},
		{name: "on-conflict", group: g, arg: "override|keep|error", to: &e.OnConflict, usage: "secret against inherited variable (default override)", check: allow("override", "keep", "error")},
		{name: "exec", group: g, to: &p.Exec, usage: "become the program: no supervision, no rotation"},
		{name: "signal-map", to: &c.signalMap, comma: true, group: g, arg: "FROM=TO", usage: "rewrite a signal; TO 0 drops it", add: func(t string) error {
			s, err := parseSignalPair(t)
			return push(&p.SignalMap, s, err)
		}},
		{name: "signal-group", short: "g", group: g, to: &p.SignalGroup, usage: "signals go to its whole process group"},
		{name: "map-exit", to: &c.mapExit, comma: true, group: g, arg: "FROM=TO", usage: "rewrite an exit status", add: func(t string) error {
			s, err := parseStatusPair(t)
			return push(&p.MapExit, s, err)
		}},
		{name: "stop-signal", group: g, arg: "SIGNAL", to: &c.Stop.Signal, usage: "asks it to stop (default TERM)", check: func(t string) error { return checkSignal(&c.Stop.Signal, t) }},
		{name: "stop-timeout", common: true, group: g, arg: "DURATION", to: &c.Stop.Timeout, usage: "until KILL (default 30s; 0 = never)"},
		{name: "leave-orphans", group: g, to: &c.Stop.LeaveOrphans, hidden: true, usage: "leave alone what the program leaves behind"},
		{name: "subreaper", group: g, to: &c.noReaper, hidden: true, usage: "adopt and reap its orphans (default true)"},
		{name: "reraise", group: g, to: &c.noRaise, hidden: true, usage: "die of its signal instead of ending with 128+n (default true)"},
		{name: "stop-grace", group: g, arg: "DURATION", to: &c.Stop.Grace, hidden: true, usage: "for what it leaves behind (default 3s)"},
	}
}

func changeOptions(c *Config) []option {
	h, r := &c.Change, &c.Restart
	g := groupChange
	return []option{
		{name: "once", common: true, group: g, to: &c.Start.Once, usage: "read secrets once; leases are renewed"},
		{name: "on-change", common: true, group: g, arg: "[NAME=]POLICY", lines: true, usage: "restart, overlap, signal[:SIG], hook:CMD, exit[:N] or none", add: func(t string) error { return c.addRule(t) }},
		{name: "quiet", group: g, arg: "DURATION", to: &h.Quiet, usage: "wait for quiet before acting (default 500ms)"},
		{name: "quiet-max", group: g, arg: "DURATION", to: &h.QuietMax, usage: "but no longer than this (default 5s)"},
		{name: "splay", group: g, arg: "DURATION", to: &h.Splay, usage: "random pause before acting"},
		{name: "min-uptime", group: g, arg: "DURATION", to: &h.MinUptime, usage: "a program that lives this long is good (default 10s)"},
		{name: "change-limit", group: g, arg: "N", to: &h.Limit, hidden: true, usage: "at most N changes in --change-interval"},
		{name: "change-interval", group: g, arg: "DURATION", to: &h.Interval, hidden: true, usage: "see --change-limit"},
		{name: "change-window", group: g, arg: "HH:MM-HH:MM", to: &h.Window, usage: "act only between these times", check: checkWindow},
		{name: "restart", common: true, group: g, arg: "WHEN", to: &r.On, usage: "no, on-failure, on-abnormal or always", check: allow(conditions...)},
		{name: "restart-min-backoff", group: g, arg: "DURATION", to: &r.MinBackoff, usage: "first pause (default 1s)", check: checkPositive},
		{name: "restart-max-backoff", group: g, arg: "DURATION", to: &r.MaxBackoff, usage: "longest pause (default 1m)", check: checkPositive},
		{name: "restart-reset-after", group: g, arg: "DURATION", to: &r.ResetAfter, hidden: true, usage: "pauses begin anew after this (default 1m)"},
		{name: "restart-limit", group: g, arg: "N", to: &r.Limit, usage: "give up after N starts in --restart-interval (default 5)"},
		{name: "restart-interval", group: g, arg: "DURATION", to: &r.Interval, usage: "see --restart-limit (default 10s)"},
		{name: "restart-success", group: g, arg: "LIST", to: &r.Success, hidden: true, usage: "statuses and signals that are no failure"},
		{name: "restart-prevent", group: g, arg: "LIST", to: &r.Prevent, hidden: true, usage: "never restart after these"},
		{name: "restart-force", group: g, arg: "LIST", to: &r.Force, hidden: true, usage: "always restart after these"},
	}
}

func readyOptions(c *Config) []option {
	r := &c.Ready
	g := groupReady
	return []option{
		{name: "ready", common: true, group: g, arg: "HOW", usage: "notify, fd:N, exec:CMD, tcp:ADDR, http:URL, delay:D or none", add: func(t string) error { return parseReady(r, t) }},
		{name: "ready-header", group: g, arg: "NAME", to: &r.Header, usage: "http: the answer's header that holds $ENVEXEC_GENERATION"},
		{name: "ready-timeout", group: g, arg: "DURATION", to: &r.Timeout, usage: "not ready by then is a failure (default 1m)"},
		{name: "soak", group: g, arg: "DURATION", to: &c.Change.Soak, usage: "overlap: keep both this long"},
		{name: "listen", common: true, group: g, arg: "NAME=tcp://ADDR|unix://PATH", usage: "hold a listening socket for the program", add: func(t string) error {
			s, err := parseSocket(t)
			return push(&c.Sockets, s, err)
		}},
		{name: "listen-vault", common: true, group: groupListener, arg: "ADDR|unix://PATH", usage: "serve Vault's API there", add: func(t string) error {
			l, err := parseVaultListener(t)
			return push(&c.Listeners, l, err)
		}},
		{name: "child-token", group: groupListener, to: &c.APIProxy.ChildToken, usage: "the program gets a token only that listener accepts"},
		{name: "child-path", group: groupListener, arg: "PREFIX", to: &c.APIProxy.ChildPaths, usage: "the same, for this API path and below it only (repeatable)"},
		{name: "cache-static-secrets", group: groupListener, to: &c.Cache.StaticSecrets, usage: "cache KV reads of its clients"},
	}
}

func generalOptions(c *Config) []option {
	g := groupGeneral
	k := &c.Check
	return []option{
		{name: "log-level", common: true, group: g, arg: "LEVEL", env: []string{"VAULT_LOG_LEVEL"}, to: &c.Log.Level, usage: "trace, debug, info, warn or error", check: checkLevel(c)},
		{name: "log-format", group: g, arg: "text|json", env: []string{"VAULT_LOG_FORMAT"}, to: &c.Log.Format, usage: "format of our log lines", check: checkFormat(c)},
		{name: "log-file", group: g, arg: "FILE", to: &c.Log.File, usage: "write them to a file too"},
		{name: "log-rotate-bytes", group: g, arg: "SIZE", to: &c.Log.RotateBytes, hidden: true, usage: "new file at this size"},
		{name: "log-rotate-duration", group: g, arg: "DURATION", to: &c.Log.RotateDuration, hidden: true, usage: "new file after this (default 24h)"},
		{name: "log-rotate-max-files", group: g, arg: "N", to: &c.Log.RotateMaxFiles, hidden: true, usage: "old files kept; 0 = all"},
		{name: "admin", of: []Word{Status, Reload}, group: g, arg: "auto|off|PATH", to: &c.Admin, usage: "status socket (default auto)"},
		{name: "pid-file", group: g, arg: "FILE", to: &c.PIDFile, usage: "write our process id there"},
		{name: "exit-after-auth", group: g, to: &c.Start.ExitAfterAuth, usage: "end once the token and files are written"},
		{name: "reload-signal", group: g, arg: "SIGNAL", to: &c.Start.ReloadSignal, usage: "read the configuration anew on this signal", check: func(t string) error { return checkSignal(&c.Start.ReloadSignal, t) }},
		{name: "lenient", of: []Word{Check}, group: g, to: &k.Lenient, usage: "doubts about the configuration are warnings"},
		{name: "offline", of: []Word{Check}, group: g, to: &k.Offline, usage: "check: ask no server, open nothing else"},
		{name: "explain", of: []Word{Check}, group: g, to: &k.Explain, usage: "check: every value and where it comes from"},
		{name: "format", of: []Word{Check, Status, Render}, group: g, arg: "FORMAT", noEnv: true, to: &k.Format, usage: "check, status: text, json; render: names, env, json, dotenv, github, gitlab"},
		{name: "show-values", of: []Word{Render}, group: g, noEnv: true, to: &k.ShowValues, usage: "render: print the secrets themselves"},
		{name: "output", of: []Word{Render, Init}, short: "o", group: g, arg: "FILE", noEnv: true, to: &k.Output, usage: "render, init: write to this file"},
		{name: "yes", of: []Word{Init}, short: "y", group: g, noEnv: true, to: &k.Yes, usage: "init: ask nothing, overwrite"},
		{name: "pid", of: []Word{Status, Reload}, group: g, arg: "PID", noEnv: true, to: &k.PID, usage: "status, reload: which envexec, when several run"},
		{name: "name", of: []Word{Service}, group: g, arg: "NAME", noEnv: true, to: &c.Service.Name, usage: "service: its name (default envexec)"},
		{name: "account", of: []Word{Service}, group: g, arg: "NAME", noEnv: true, to: &c.Service.Account, usage: "service install: run as (default its own, NT SERVICE\\NAME)"},
		{name: "help", common: true, short: "h", group: g, noEnv: true, to: new(bool), usage: "this text; --help all: every flag"},
		{name: "version", short: "v", group: g, noEnv: true, to: new(bool), usage: "print the version"},
		{name: "completion", group: g, arg: "bash|zsh|fish|powershell", noEnv: true, hidden: true, to: new(string), usage: "print a completion script"},
	}
}
