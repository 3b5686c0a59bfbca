package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/environ"
)

// finish completes c once every layer has spoken, and checks what concerns more than
// one key.
func finish(d *decoder, c, fromFiles *Config, opts []option, line commandLine) {
	for _, f := range fromFiles.Environment.Files {
		// Env files named in a file come before those of flags, which are merged already.
		l := layers{report: &d.report, files: map[string]string{}}
		fromFile := l.mergeEnvFile(environ.Environ{}, f)
		c.Environment.Inherited, _ = c.Environment.Inherited.Merge(fromFile, environ.KeepFirst)
	}
	finishVault(d, c)
	finishFrom(c, line, opts)
	finishNamed(d, c)
	if c.Start.Once && c.Start.Timeout == 0 && d.origins[&c.Start.Timeout] == "" {
		c.Start.Timeout = startTimeoutOnce
	}
	if d.origins[&c.Stop.Timeout] != "" && d.origins[&c.Stop.TermTimeout] == "" {
		c.Stop.TermTimeout = c.Stop.Timeout
	}
	c.Program.NoSubreaper, c.Program.NoReraise = c.noReaper == No, c.noRaise == No
	if c.Word == Proxy && len(line.program) == 0 {
		c.Program.Args = nil
	}
	checkNames(d, c)
	checkChange(d, c)
	checkTokenUse(d, c)
	checkWhole(d, c)
	sortWarnings(d.warnings)
}

func finishVault(d *decoder, c *Config) {
	v := &c.Vault
	v.Namespace = namespace(v.Namespace)
	if v.Namespace == "" && c.Login.Namespace != "" && c.autoAuth {
		v.Namespace, v.NamespaceFromLogin = c.Login.Namespace, true
	}
	if strings.HasPrefix(d.origins[&v.Namespace], "VAULT_NAMESPACE") || strings.HasPrefix(d.origins[&v.Namespace], "--") || strings.HasPrefix(d.origins[&v.Namespace], "ENVEXEC_") {
		c.Login.Namespace = "" // given outside the file it goes before both of the file's
	}
	if (v.ClientCert == "") != (v.ClientKey == "") {
		d.failSource("client_cert", "client certificate and client key must be given together", "")
	}
	for name := range v.Headers {
		if strings.HasPrefix(strings.ToLower(name), "x-vault-") {
			d.failSource("headers", fmt.Sprintf("%s: headers that begin with X-Vault- are Vault's own", name), "")
		}
	}
	if d.origins[&v.NumRetries] == "" || strings.Contains(d.origins[&v.NumRetries], "VAULT_MAX_RETRIES") {
		return
	}
	v.NumRetries = max(v.NumRetries, 0)
}

// finishFrom gives --prefix and --upcase to the --from flags.
func finishFrom(c *Config, line commandLine, opts []option) {
	prefix := ""
	for _, o := range opts {
		if p, ok := o.to.(*string); ok && o.name == "prefix" {
			prefix = *p
		}
	}
	for i := range c.Secrets.From {
		f := &c.Secrets.From[i]
		if f.Pos.File == "" {
			f.Prefix, f.Upcase = prefix, c.Secrets.Upcase
		}
		f.Refresh = pathRefresh(c, f.Path, f.Refresh)
	}
	for i := range c.Secrets.Variables {
		v := &c.Secrets.Variables[i]
		v.Refresh = pathRefresh(c, v.Path, v.Refresh)
	}
	for i := range c.Secrets.RenderFiles {
		f := &c.Secrets.RenderFiles[i]
		f.Refresh = pathRefresh(c, f.Path, f.Refresh)
	}
}

func pathRefresh(c *Config, path string, own time.Duration) time.Duration {
	for _, r := range c.Secrets.RefreshPaths {
		if r.Path == path && path != "" {
			own = r.Every
		}
	}
	return own
}

// finishNamed applies --as-file and --on-change NAME=… to the variables of that name.
func finishNamed(d *decoder, c *Config) {
	for _, text := range c.asFile {
		name, how, has := strings.Cut(text, "=")
		if !has {
			how = "file"
		}
		if !contains([]string{"value", "file", "memfd"}, how) {
			d.failSource("--as-file", oneOf(how, "value", "file", "memfd").Error(), "")
		}
		c.Secrets.Named = append(c.Secrets.Named, Named{Name: name, Delivery: how})
	}
	for _, n := range c.Secrets.Named {
		for i := range c.Secrets.Variables {
			if v := &c.Secrets.Variables[i]; v.Name == n.Name {
				n.apply(&v.Delivery, &v.OnChange)
			}
		}
		for i := range c.Secrets.EnvTemplates {
			if t := &c.Secrets.EnvTemplates[i]; t.Name == n.Name {
				n.apply(&t.Delivery, &t.OnChange)
			}
		}
	}
}

func (n Named) apply(delivery *string, rule *ChangeRule) {
	if n.Delivery != "" {
		*delivery = n.Delivery
	}
	if n.OnChange.Policy != "" {
		*rule = n.OnChange
	}
}

// checkNames: two of our own sources must not name one variable or one file.
func checkNames(d *decoder, c *Config) {
	taken := map[string]string{}
	claim := func(what, name, by string, pos Position) {
		key := what + " " + name
		if first, dup := taken[key]; dup && name != "" {
			d.problems = append(d.problems, Problem{Pos: pos, Source: by, Message: fmt.Sprintf("%s %s is already set by %s", what, name, first)})
			return
		}
		taken[key] = by
		if pos.File != "" {
			taken[key] = pos.String()
		}
	}
	for _, v := range c.Secrets.Variables {
		claim("variable", v.Name, "--env", v.Pos)
	}
	for _, t := range c.Secrets.EnvTemplates {
		claim("variable", t.Name, "env_template", t.Pos)
	}
	for _, f := range c.Secrets.RenderFiles {
		claim("file", f.Destination, "--file", f.Pos)
	}
	for _, t := range c.Secrets.Templates {
		claim("file", t.Destination, "template", t.Pos)
	}
	for _, s := range c.Sockets {
		claim("socket", s.Name, "--listen", s.Pos)
	}
}

// overlapReady are the ways to be ready that prove which generation answers.
var overlapReady = []string{"notify", "fd", "exec"}

func checkChange(d *decoder, c *Config) {
	overlap := c.Change.Policy == "overlap"
	hooks := []ChangeRule{{Policy: c.Change.Policy, Hook: c.Change.Hook}}
	for _, v := range c.Secrets.Variables {
		hooks = append(hooks, v.OnChange)
	}
	for _, h := range hooks {
		overlap = overlap || h.Policy == "overlap"
		if h.Policy == "hook" && len(h.Hook) == 0 && len(c.Change.Hook) == 0 {
			d.failSource("on-change", "policy hook needs a command", "write hook:/path/to/script")
		}
	}
	if overlap && !slices.Contains(overlapReady, c.Ready.Type) {
		d.failSource("on-change", fmt.Sprintf("overlap cannot tell the new program from the old one with readiness %s", c.Ready.Type),
			"use --ready notify, fd:N or exec:CMD")
	}
	if c.Change.QuietMax < c.Change.Quiet {
		if d.origins[&c.Change.QuietMax] != "" {
			d.failSource("quiet-max", "is below quiet", "")
		}
		c.Change.QuietMax = c.Change.Quiet
	}
	if c.Restart.MinBackoff > c.Restart.MaxBackoff {
		d.failSource("restart-min-backoff", "is above restart-max-backoff", "")
	}
	if c.Program.Exec && (c.Restart.On != "no" || len(c.Sockets) > 0 || d.origins[&c.Change.Policy] != "") {
		d.failSource("exec", "leaves nobody to restart, rotate or hold sockets", "remove --exec or the other flag")
	}
	if c.Stop.Signal == "" {
		d.warn(Position{}, "stop.signal", "none: the program is only killed, after the stop timeout", "")
	}
}

func checkTokenUse(d *decoder, c *Config) {
	var first tokenUse
	for _, u := range d.tokenUse {
		if first.key != "" && first.key != u.key {
			d.doubt(u.pos, u.key, fmt.Sprintf("is also set by %s", first.key), "remove one of them")
		}
		first = u
	}
	if !c.APIProxy.UseAutoAuthToken || first.key == "" {
		return
	}
	if !c.autoAuth && c.Login.Method == "" {
		d.doubt(first.pos, first.key, "needs a login", "add auto_auth")
	}
	if c.Login.WrapTTL > 0 {
		d.fail(first.pos, first.key, "cannot be used with auto_auth.method.wrap_ttl", "")
	}
}

// checkWhole is about combinations that do nothing.
func checkWhole(d *decoder, c *Config) {
	if c.APIProxy.Enabled && len(c.Listeners) == 0 {
		d.doubt(Position{}, "api_proxy", "needs a listener", "")
	}
	if c.Cache.Enabled && len(c.Listeners) == 0 && len(c.Secrets.Templates)+len(c.Secrets.EnvTemplates) == 0 {
		d.doubt(Position{}, "cache", "needs a listener or a template", "")
	}
	if d.origins[&c.Stop.Timeout] != "" && d.origins[&c.Stop.TermTimeout] == "" {
		c.Stop.TermTimeout = c.Stop.Timeout
	}
	c.Program.NoSubreaper, c.Program.NoReraise = c.noReaper == No, c.noRaise == No
	if c.Word == Proxy && len(c.Listeners) == 0 && len(d.problems) == 0 {
		d.failSource("proxy", "no listener", "add a listener stanza or --listen-vault")
	}
}
