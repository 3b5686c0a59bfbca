package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// text is g in the wanted format. Its errors name variables, never values.
func (r *rendering) text(g envtemplate.Generation) (string, error) {
	var line func(name, value string) (string, error)
	switch r.format {
	case "names":
		return r.table(g), nil
	case "json":
		return r.json(g)
	case "env":
		line = shellLine
	case "dotenv":
		line = dotenvLine
	case "gitlab":
		line = gitlabLine
	case "github":
		line = githubLine
	}
	var b strings.Builder
	for name, value := range sorted(g.Vars) {
		if !environ.Valid(name) {
			return "", misconfigured{fmt.Errorf("variable %q has no place in format %s: its name is not made of letters, digits and _", name, r.format)}
		}
		text, err := line(name, value)
		if err != nil {
			return "", misconfigured{err}
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func sorted(e environ.Environ) func(yield func(name, value string) bool) {
	all := maps.Collect(e.All())
	return func(yield func(name, value string) bool) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

// table shows names, sources and ages.
func (r *rendering) table(g envtemplate.Generation) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	head := "NAME\tSOURCE\tAGE"
	if r.values {
		head += "\tVALUE"
	}
	fmt.Fprintln(w, head)
	row := func(name, value string) {
		var sources []string
		age := time.Duration(0)
		for _, o := range g.Origins[name] {
			sources = append(sources, source(o))
			age = max(age, time.Since(o.ReadAt))
		}
		text := fmt.Sprintf("%s\t%s\t%s", name, strings.Join(sources, ", "), age.Round(100*time.Millisecond))
		if r.values {
			text += "\t" + oneLine(value)
		}
		fmt.Fprintln(w, text)
	}
	for name, value := range sorted(g.Vars) {
		row(name, value)
	}
	for _, f := range g.Files {
		row(f.Path, f.Contents.Reveal())
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// source names a secret and the version that was read.
func source(o envtemplate.Origin) string {
	if o.Version != 0 && o.Request.Version == 0 {
		return fmt.Sprintf("%s#%d", o.Request, o.Version)
	}
	return o.Request.String()
}

// oneLine keeps a value from breaking the table, or the terminal, and shows its ends.
func oneLine(value string) string {
	if strings.TrimSpace(value) != value || strings.HasPrefix(value, `"`) || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

type jsonRendering struct {
	Value          *string      `json:"value,omitempty"`
	ValueBase64    []byte       `json:"value_base64,omitempty"` // in its place, where it is no UTF-8
	Contents       *string      `json:"contents,omitempty"`
	ContentsBase64 []byte       `json:"contents_base64,omitempty"`
	Sources        []jsonSource `json:"sources"`
}

type jsonSource struct {
	Secret  string  `json:"secret"`
	Version int     `json:"version,omitempty"`
	Age     float64 `json:"age_seconds"`
}

// json is an object of variables and one of files, each by name.
func (r *rendering) json(g envtemplate.Generation) (string, error) {
	all := struct {
		Variables map[string]jsonRendering `json:"variables"`
		Files     map[string]jsonRendering `json:"files"`
	}{map[string]jsonRendering{}, map[string]jsonRendering{}}
	sources := func(name string) []jsonSource {
		list := []jsonSource{}
		for _, o := range g.Origins[name] {
			list = append(list, jsonSource{o.Request.String(), o.Version, time.Since(o.ReadAt).Seconds()})
		}
		return list
	}
	shown := func(value string) (text *string, raw []byte) {
		switch {
		case !r.values:
			return nil, nil
		case !utf8.ValidString(value): // JSON would change it
			return nil, []byte(value)
		}
		return &value, nil
	}
	for name, value := range g.Vars.All() {
		one := jsonRendering{Sources: sources(name)}
		one.Value, one.ValueBase64 = shown(value)
		all.Variables[name] = one
	}
	for _, f := range g.Files {
		one := jsonRendering{Sources: sources(f.Path)}
		one.Contents, one.ContentsBase64 = shown(f.Contents.Reveal())
		all.Files[f.Path] = one
	}
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	err := out.Encode(all)
	return b.String(), err
}

// shellLine is for eval or a sourced file, in any POSIX shell.
func shellLine(name, value string) (string, error) {
	return fmt.Sprintf("export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`)), nil
}

// dotenvLine quotes only where it must: single quotes, in which nothing is special and
// lines may end, or double quotes for a value that has a single quote in it. A shell that
// sources it has the same values, but for carriage returns.
func dotenvLine(name, value string) (string, error) {
	plain := func(r rune) bool { return r < 0x80 && (r == '_' || strings.ContainsRune("./:@%+,-", r) || isAlnum(r)) }
	switch {
	case !strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }):
	case !strings.ContainsAny(value, "'\\\r"):
		value = "'" + value + "'"
	default:
		value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`, "$", `\$`, "`", "\\`").Replace(value) + `"`
	}
	return name + "=" + value + "\n", nil
}

func isAlnum(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// gitlabLine is for artifacts:reports:dotenv, whose values are taken as they stand and
// trimmed: there is no way to quote.
func gitlabLine(name, value string) (string, error) {
	if strings.ContainsAny(value, "\n\r") {
		return "", fmt.Errorf("variable %s has more than one line, which GitLab's dotenv report cannot hold", name)
	}
	if strings.Trim(value, " \t\v\f\x00") != value {
		return "", fmt.Errorf("variable %s begins or ends with a space, which GitLab's dotenv report would lose", name)
	}
	return name + "=" + value + "\n", nil
}

// githubLine is for $GITHUB_ENV. The delimiter is drawn anew for each value and never
// occurs in it, so no value can end itself and set another variable.
func githubLine(name, value string) (string, error) {
	if upper := strings.ToUpper(name); upper == "NODE_OPTIONS" || strings.HasPrefix(upper, "GITHUB_") || strings.HasPrefix(upper, "RUNNER_") {
		return "", fmt.Errorf("variable %s cannot be set by a step: GitHub's runner keeps its own", name)
	}
	if strings.HasSuffix(value, "\r") {
		return "", fmt.Errorf("variable %s ends with a carriage return, which GitHub's runner would take for a part of the line's end", name)
	}
	for {
		delimiter := "envexec_" + rand.Text()
		if !strings.Contains(value, delimiter) {
			return fmt.Sprintf("%s<<%s\n%s\n%s\n", name, delimiter, value, delimiter), nil
		}
	}
}

// githubMasks tells the runner to hide every line of every value. An empty line would
// hide nothing, or everything.
func githubMasks(vars environ.Environ) string {
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	seen := map[string]bool{}
	var b strings.Builder
	for _, value := range sorted(vars) {
		for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if line = strings.TrimSpace(line); line != "" && !seen[line] {
				seen[line] = true
				fmt.Fprintf(&b, "::add-mask::%s\n", escape.Replace(line))
			}
		}
	}
	return b.String()
}
