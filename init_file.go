package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// starter is the text of a configuration that gives every key of what was found a variable.
func starter(cfg *config.Config, found []discovery) string {
	var b strings.Builder
	b.WriteString("# A starter made by envexec init: names and paths only, no values. Try it:\n#\n#   envexec render --config FILE\n#   envexec --config FILE -- PROGRAM\n\n")
	fmt.Fprintf(&b, "vault {\n  address = %s\n", quote(cfg.Vault.Address))
	if cfg.Vault.Namespace != "" && !cfg.Vault.NamespaceFromLogin {
		fmt.Fprintf(&b, "  namespace = %s\n", quote(cfg.Vault.Namespace))
	}
	for _, f := range []struct{ key, value string }{{"ca_cert", cfg.Vault.CACert}, {"ca_path", cfg.Vault.CAPath}, {"client_cert", cfg.Vault.ClientCert}, {"client_key", cfg.Vault.ClientKey}, {"tls_server_name", cfg.Vault.TLSServerName}} {
		if f.value != "" {
			fmt.Fprintf(&b, "  %s = %s\n", f.key, quote(f.value))
		}
	}
	b.WriteString("}\n")
	b.WriteString(loginText(cfg.Login))
	names := naming{}
	for _, d := range found {
		fmt.Fprintf(&b, "\n# %s\n", oneLine(d.path))
		switch {
		case d.why != "":
			fmt.Fprintf(&b, "# left out: %s\n", oneLine(d.why))
		case len(d.keys) == 0:
			b.WriteString("# has no keys\n")
		}
		for _, key := range d.keys {
			b.WriteString(names.stanza(d, key))
		}
	}
	if args := cfg.Program.Args; len(args) > 0 {
		var quoted []string
		for _, a := range args {
			quoted = append(quoted, quote(a))
		}
		fmt.Fprintf(&b, "\nexec {\n  command = [%s]\n}\n", strings.Join(quoted, ", "))
	}
	return b.String()
}

// loginText is the login as a stanza, unless it holds a credential: those stay where they are.
func loginText(l config.Login) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(l.Settings)) {
		switch v := l.Settings[key].(type) {
		case string:
			lines = append(lines, fmt.Sprintf("      %s = %s\n", key, quote(v)))
		case bool, int, float64:
			lines = append(lines, fmt.Sprintf("      %s = %v\n", key, v))
		default:
			lines, l.Method = nil, "token"
		}
		if l.Method == "token" {
			break
		}
	}
	if l.Method == "token" || l.Method == "" {
		return fmt.Sprintf("\n# The login is not written here: it came from %s, and has to be there again.\n", l.Source)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nauto_auth {\n  method %s {\n", quote(l.Method))
	if l.MountPath != "" && l.MountPath != "auth/"+l.Method {
		fmt.Fprintf(&b, "    mount_path = %s\n", quote(l.MountPath))
	}
	if l.Namespace != "" {
		fmt.Fprintf(&b, "    namespace = %s\n", quote(l.Namespace))
	}
	fmt.Fprintf(&b, "    config {\n%s    }\n  }\n}\n", strings.Join(lines, ""))
	return b.String()
}

// plain takes their meaning from the characters that have one in PATH#KEY.
var plain = strings.NewReplacer(`\`, `\\`, "#", `\#`, "?", `\?`, "{", `\{`, "}", `\}`, "$", `\$`)

// naming gives out each variable's name once.
type naming map[string]string // name → path#key that has it

// stanza is the variable of one key, with a word where its name is not the obvious one.
func (n naming) stanza(d discovery, key string) string {
	name, note := n.choose(d, key)
	var b strings.Builder
	if note != "" {
		fmt.Fprintf(&b, "# %s\n", oneLine(note))
	}
	if key == "" { // PATH#KEY must have one
		field := ".Data"
		if d.kv == 2 {
			field = ".Data.data"
		}
		contents := fmt.Sprintf("{{ with secret %q }}{{ index %s %q }}{{ end }}", d.path, field, key)
		fmt.Fprintf(&b, "env_template %q {\n  contents = %s\n}\n", name, quote(contents))
		return b.String()
	}
	fmt.Fprintf(&b, "env %q {\n  secret = %s\n", name, quote(plain.Replace(d.path)+"#"+plain.Replace(key)))
	if d.null[key] {
		b.WriteString("  optional = true # it is null now\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// choose tries SEGMENT_KEY, then with more of the path in front, then with a number.
func (n naming) choose(d discovery, key string) (name, note string) {
	segments := strings.Split(d.path, "/")
	first, by := "", ""
	for from := len(segments) - 1; from >= 0; from-- {
		name = variableName(strings.Join(segments[from:], "_") + "_" + key)
		owner, taken := n[name]
		if !taken {
			break
		}
		if first == "" {
			first, by = name, owner
		}
		if from == 0 {
			base := name
			for i := 2; taken; i++ {
				name = fmt.Sprintf("%s_%d", base, i)
				_, taken = n[name]
			}
		}
	}
	n[name] = d.path + "#" + key
	switch {
	case first != "":
		note = first + " is taken by " + by
	case variableName(key) != strings.ToUpper(key):
		note = fmt.Sprintf("key %q has no place in a name as it is", key)
	}
	return name, note
}

// variableName makes any text a name that is safe to set.
func variableName(text string) string {
	name := strings.ToUpper(environ.Identifier(text))
	if environ.Dangerous(name) {
		name = "APP_" + name
	}
	return name
}

// quote writes a string as HCL has it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
