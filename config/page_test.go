package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const pagePath = "../docs/configuration.md"

// The reference page is made from the tables the decoder works with; -update writes it.
func TestReferencePage(t *testing.T) {
	want := referencePage()
	if *update {
		if err := os.MkdirAll(filepath.Dir(pagePath), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pagePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md is stale: go test ./config -run TestReferencePage -update")
	}
}

// Every example on the page is decoded: no problem, no warning.
func TestExamplesOnThePage(t *testing.T) {
	page, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("app.env", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stanza, seen := "", 0
	for line := range strings.Lines(string(page)) {
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			stanza = strings.Trim(strings.TrimSpace(heading), "`")
			if stanza == "top level" {
				stanza = ""
			}
		}
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 5 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		name := strings.Trim(strings.TrimPrefix(cells[0], "| "), "`¹")
		example := strings.ReplaceAll(strings.Trim(strings.TrimSuffix(cells[4], " |"), "`"), `\|`, "|")
		text := inSkeleton(stanza, name, strings.TrimPrefix(example, name+" = "))
		if method, ok := strings.CutPrefix(stanza, "method "); ok {
			text = methodExample(method, example)
		}
		text = strings.ReplaceAll(text, "/etc/app/env", "app.env")
		if c, err := Parse([]string{"check", "--config", write(t, text)}, parseEnv()); err != nil || len(c.Warnings) > 0 {
			t.Errorf("%s.%s: %v %v in\n%s", stanza, name, err, c, text)
		}
		seen++
	}
	if seen < 200 {
		t.Errorf("only %d examples found", seen)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	if err := os.WriteFile("x.hcl", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "x.hcl"
}

// methodExample completes one key of a method with the others it needs.
func methodExample(method, line string) string {
	name, _, _ := strings.Cut(line, " = ")
	config := line
	for _, k := range methodKeys()[method] {
		if k.required && k.name != name && name != k.instead {
			config += "\n      " + k.name + " = " + methodValue(k)
		}
	}
	return fmt.Sprintf("auto_auth {\n  method %q {\n    config = {\n      %s\n    }\n  }\n}\n", method, config)
}

func methodValue(k methodKey) string {
	switch {
	case len(k.allow) > 0:
		return fmt.Sprintf("%q", k.allow[0])
	case k.kind == "bool" || k.kind == "weak bool":
		return map[string]string{"true": "false", "false": "true"}[k.def]
	case k.kind == "number":
		return "60"
	case k.kind == "duration":
		return `"30s"`
	case strings.Contains(k.name, "path") || strings.Contains(k.name, "file"):
		return `"/etc/app/` + k.name + `"`
	}
	return `"app"`
}

func referencePage() string {
	var b strings.Builder
	b.WriteString(`# Configuration reference

Made from the code by ` + "`go test ./config -run TestReferencePage -update`" + `; do not edit.

A file is HCL or JSON, as for ` + "`vault agent`" + ` and ` + "`vault proxy`" + `: give it with ` + "`--config FILE`" + ` (or ` + "`-config=FILE`" + `), several times if you like. A directory stands for its
` + "`.hcl` and `.json`" + ` files in the order of their names. Keys marked ¹ and the stanzas of the second part are envexec's own.

**Precedence**, key by key: flag, then environment variable, then file, then default. ` + "`envexec check --explain`" + ` shows each value and where it comes from.

**The vault CLI's variables** mean here what they mean there: each is named below beside its flag; besides, ` + "`VAULT_HEADERS`" + ` is a JSON object of headers, and ` + "`VAULT_AGENT_ADDR`" + ` goes before ` + "`VAULT_ADDR`" + `,
but not with a configuration file or a listener: Vault Agent passes it over too.

**Without a file.** ` + "`--set KEY=VALUE`" + ` sets any key on this page by its dotted name, over what the files say; what it does not name stays. A stanza works too, also one that may be repeated.
` + "`ENVEXEC_SET`" + ` holds one of them a line. A flag that is made for the key goes before ` + "`--set`" + `.

` + "```sh\nenvexec check --offline --set cache.max_age=1m --set 'env_template \"GREETING\" { contents = \"hello\" }' --set 'listener \"tcp\" { address = \"127.0.0.1:8100\" tls_disable = true }'\n```" + `

**Types.** A duration is a number of seconds, ` + "`90s`, `1m30s` or `2d`" + `. A weak boolean also takes ` + "`1`, `\"true\"`" + ` and the like; the others only ` + "`true` and `false`" + `.
A size is bytes, or ` + "`\"64k\"`, `\"8m\"`, `\"1g\"`" + `. A mode is octal.

**Several files.** Later files go before earlier ones. ` + "`listener`, `template`, `env_template`, `env`, `from`, `file` and `listen`" + ` are added up; every other stanza of a later file replaces the
whole stanza of an earlier one. ` + "`exit_after_auth`, `disable_idle_connections` and `disable_keep_alives`" + ` are never undone by a later file.

**Mistakes.** All are reported at once, with file, line, column and the nearest valid key, and nothing is started (status 78). What Vault would pass over in silence is an error too;
` + "`--lenient`" + ` turns that into warnings: every file that ` + "`vault agent` or `vault proxy`" + ` accepts then passes.

**Where a file means more than in Vault**

| Key | Vault | envexec |
|---|---|---|
| ` + "`exit_on_err`, `exit_on_retry_failure`" + ` absent | retry for ever | end at once on what cannot heal before the first start; an explicit ` + "`false`" + ` retries until ` + "`start.timeout`" + ` |
| ` + "`error_on_missing_key`" + ` absent | ` + "`<no value>`" + ` | an error; an explicit ` + "`false`" + ` gives empty text and a warning |
| ` + "`template` with `env_template` and `exec`" + ` | refused | allowed: one program, variables and files |
| ` + "`listener` without `cache`, `exec` with `api_proxy`" + ` | refused | allowed |
| ` + "`cache_static_secrets`" + ` | needs Enterprise | works with every edition |
| ` + "`command` of a `template`" + ` as one string | split at commas | a shell line |
| ` + "`perms`, `socket_mode`" + ` | socket mode only with user and group | each alone |

## Stanzas of Vault Agent and Vault Proxy
`)
	own := false
	var walk func(path string, s stanza, bl block)
	walk = func(path string, s stanza, bl block) {
		stanzaSection(&b, path, s, bl)
		if path == "auto_auth.method" {
			methodSections(&b)
		}
		for _, inner := range s.blocks {
			if inner.why != "" || path != "" && inner.name == "on_change" && path != "template" {
				continue
			}
			if inner.ours && path == "" && !own {
				own = true
				b.WriteString("\n## envexec's own stanzas\n")
			}
			walk(strings.TrimPrefix(path+"."+inner.name, "."), inner.open(), inner)
		}
	}
	walk("", root(defaults()), block{})
	inertSection(&b)
	flagSection(&b)
	return b.String()
}

func stanzaSection(b *strings.Builder, path string, s stanza, bl block) {
	title := path
	if path == "" {
		title = "top level"
	}
	fmt.Fprintf(b, "\n### `%s`\n\n%s", title, s.doc)
	if s.label != nil {
		fmt.Fprintf(b, " Label: %s", s.label.doc)
		if s.label.name != "" {
			fmt.Fprintf(b, "; the key `%s` inside does the same", s.label.name)
		}
		b.WriteString(".")
	}
	if bl.many {
		b.WriteString(" May be repeated.")
	}
	if path == "template.on_change" {
		b.WriteString(" Also in `env_template`, `env`, `from` and `file`.")
	}
	b.WriteString("\n")
	header := false
	for _, k := range s.keys {
		if k.why != "" || refused(k) {
			continue
		}
		if !header {
			b.WriteString("\n| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|\n")
			header = true
		}
		mark := ""
		if k.ours && !bl.ours {
			mark = "¹"
		}
		row(b, k.name, mark, typeName(k), defaultText(k), k.doc+aliases(k), k.name+" = "+otherValue(k))
	}
}

func row(b *strings.Builder, name, mark, kind, def, doc, example string) {
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	fmt.Fprintf(b, "| `%s`%s | %s | %s | %s | `%s` |\n", name, mark, kind, cell(def), cell(doc), cell(example))
}

func aliases(k key) string {
	if len(k.aliases) == 0 {
		return ""
	}
	return "; also `" + strings.Join(k.aliases, "`, `") + "`"
}

func typeName(k key) string {
	name := strings.TrimPrefix(strings.TrimPrefix(kindOf(k), "a "), "an ")
	if k.weak && name == "boolean" {
		return "weak boolean"
	}
	return name
}

func defaultText(k key) string {
	if k.def != "" {
		return k.def
	}
	if text := format(k.to); text != "" {
		return "`" + text + "`"
	}
	return "–"
}

func methodSections(b *strings.Builder) {
	for _, method := range slices.Sorted(maps.Keys(methodKeys())) {
		fmt.Fprintf(b, "\n### `method %s`\n\nKeys of `config` of `method %q`.\n\n| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|\n", method, method)
		for _, k := range methodKeys()[method] {
			def, mark := "–", ""
			if k.def != "" {
				def = "`" + k.def + "`"
			}
			if k.required {
				def = "required"
			}
			if k.ours {
				mark = "¹"
			}
			kind := map[string]string{"bool": "boolean", "weak bool": "weak boolean"}[k.kind]
			if kind == "" {
				kind = k.kind
			}
			row(b, k.name, mark, kind, def, k.doc, k.name+" = "+methodValue(k))
		}
	}
}

func inertSection(b *strings.Builder) {
	b.WriteString("\n## Keys without effect\n\nThey are accepted, with a warning that says why.\n\n| Where | Keys | Why |\n|---|---|---|\n")
	type group struct{ path, why string }
	var order []group
	names := map[group][]string{}
	add := func(path, name, why string) {
		g := group{path, why}
		if names[g] == nil {
			order = append(order, g)
		}
		names[g] = append(names[g], "`"+name+"`")
	}
	var walk func(path string, s stanza)
	walk = func(path string, s stanza) {
		for _, k := range s.keys {
			if k.why != "" {
				add(path, k.name, k.why)
			}
		}
		for _, inner := range s.blocks {
			if inner.why != "" {
				add(path, inner.name, inner.why)
				continue
			}
			walk(strings.TrimPrefix(path+"."+inner.name, "."), inner.open())
		}
	}
	walk("", root(defaults()))
	for _, g := range order {
		where := "top level"
		if g.path != "" {
			where = "`" + g.path + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", where, strings.Join(names[g], ", "), g.why)
	}
}

func flagSection(b *strings.Builder) {
	b.WriteString("\n## Flags and variables\n\nThe first variable that is set and not empty counts. A flag that may be repeated takes a list in its variable: one item a line, or with commas where items hold none.\n\n| Flag | Variables | Meaning |\n|---|---|---|\n")
	for _, f := range Flags() {
		var env []string
		for _, e := range f.Env {
			env = append(env, "`"+e+"`")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.ReplaceAll(f.Spelling(), "|", `\|`), strings.Join(env, ", "), strings.ReplaceAll(f.Usage, "|", `\|`))
	}
}
