package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/envexec/envexec/environ"
)

// finish completes c once every layer has spoken, and checks what concerns more than
// one key.
func finish(d *decoder, c, fromFiles *Config, opts []option, line commandLine) {
	for _, f := range fromFiles.Environment.Files {
		if c.Check.Offline {
			break
		}
		// Env files named in a file come before those of flags, which are merged already.
		l := layers{report: &d.report, files: map[string]string{}}
		fromFile := l.mergeEnvFile(environ.Environ{}, f)
		c.Environment.Inherited, _ = c.Environment.Inherited.Merge(fromFile, environ.KeepFirst)
	}
	finishVault(d, c)
	finishFrom(c, opts)
	finishNamed(d, c)
	if c.Start.Once && c.Start.Timeout == 0 && d.origins[&c.Start.Timeout] == "" {
		c.Start.Timeout = startTimeoutOnce
	}
	if (c.Word == Render || c.Word == Init) && d.origins[&c.Log.Level] == "" {
		c.Log.Level = "warn" // what they print is what was asked for
	}
	if d.origins[&c.Stop.Timeout] != "" && d.origins[&c.Stop.TermTimeout] == "" {
		c.Stop.TermTimeout = c.Stop.Timeout
	}
	c.APIProxy.ChildToken = c.APIProxy.ChildToken || len(c.APIProxy.ChildPaths) > 0
	c.Cache.Enabled = c.Cache.Enabled || c.Cache.StaticSecrets
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
	cliVariables(d, c)
	v := &c.Vault
	c.AddressFrom = d.origins[&v.Address]
	v.Namespace = namespace(v.Namespace)
	if v.Namespace == "" && c.Login.Namespace != "" && c.autoAuth {
		v.Namespace, v.NamespaceFromLogin = c.Login.Namespace, true
	}
	if strings.HasPrefix(d.origins[&v.Namespace], "VAULT_NAMESPACE") || strings.HasPrefix(d.origins[&v.Namespace], "--") || strings.HasPrefix(d.origins[&v.Namespace], "ENVEXEC_") {
		c.Login.Namespace = "" // given outside the file it goes before both of the file's
	}
	if (v.ClientCert == "") != (v.ClientKey == "") {
		given, missing := any(&v.ClientCert), "client_key"
		if v.ClientCert == "" {
			given, missing = &v.ClientKey, "client_cert"
		}
		d.doubtSource(d.origins[given], "vault."+missing, "missing: client_cert and client_key must be given together", "")
	}
	for name := range v.Headers {
		if strings.HasPrefix(strings.ToLower(name), "x-vault-") {
			d.doubtSource(d.origins[&v.Headers], "vault.headers", fmt.Sprintf("%s: headers that begin with X-Vault- are Vault's own", name), "")
			delete(v.Headers, name)
		}
	}
	if d.origins[&v.NumRetries] == "" || strings.Contains(d.origins[&v.NumRetries], "VAULT_MAX_RETRIES") {
		return
	}
	v.NumRetries = max(v.NumRetries, 0)
}

// finishFrom gives --prefix and --upcase to the --from flags.
func finishFrom(c *Config, opts []option) {
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
	}
}

// finishNamed applies --as-file and --on-change NAME=… to the variables of that name.
func finishNamed(d *decoder, c *Config) {
	for _, text := range c.asFile {
		name, how, has := strings.Cut(text, "=")
		if !has {
			how = "file"
		}
		if !slices.Contains([]string{"value", "file", "memfd"}, how) {
			d.failSource("--as-file", oneOf(how, "value", "file", "memfd").Error(), "")
		}
		c.Secrets.Named = append(c.Secrets.Named, Named{Name: name, Delivery: how})
	}
	for _, n := range c.Secrets.Named {
		// Names of a from are known only when it is read.
		known := len(c.Secrets.From) > 0 || c.Login.ProgramToken && n.Name == "VAULT_TOKEN"
		for i := range c.Secrets.Variables {
			if v := &c.Secrets.Variables[i]; v.Name == n.Name {
				n.apply(&v.Delivery, &v.OnChange)
				known = true
			}
		}
		for i := range c.Secrets.EnvTemplates {
			if t := &c.Secrets.EnvTemplates[i]; t.Name == n.Name {
				n.apply(&t.Delivery, &t.OnChange)
				known = true
			}
		}
		if n.OnChange.Policy != "" && !n.applyToFiles(c) && !known {
			checkReference(d, c, n.Name)
		}
	}
}

// applyToFiles reports whether a file or template goes by that name.
func (n Named) applyToFiles(c *Config) (known bool) {
	var none string
	for i := range c.Secrets.RenderFiles {
		if f := &c.Secrets.RenderFiles[i]; f.Destination == n.Name {
			n.apply(&none, &f.OnChange)
			known = true
		}
	}
	for i := range c.Secrets.Templates {
		if t := &c.Secrets.Templates[i]; t.Destination == n.Name {
			n.apply(&none, &t.OnChange)
			known = true
		}
	}
	return known
}

// checkReference: a rule for a name that nothing else sets is about an inherited reference.
func checkReference(d *decoder, c *Config, name string) {
	if value, ok := c.Environment.Inherited.Get(name); !ok || !c.Secrets.References || !strings.Contains(value, "vault:") {
		d.doubtSource("--on-change", "", fmt.Sprintf("%s is neither a variable nor a file that a secret is in", name), "")
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
