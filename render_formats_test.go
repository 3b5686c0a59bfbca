package main

import (
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// awkward are values that try to be more than a value.
var awkward = []string{
	"", "plain", "with space", " lead", "tail ", "a'b", `a"b`, `a\b`, "a\nb", "a\r\nb\r\n", "\n", "$HOME", "`id`", "$(id)", "a#b", " # c", "é", "a=b", "%0A", "-----BEGIN\nx\n-----END\n",
	"x\nEOF\nPATH=/evil", "x\nenvexec_\nPATH<<envexec_\n/evil\nenvexec_", "'\\''", "!x", "*", "~", "a\tb", "\u2028", "export A=1", "\r", "a\r",
}

func rendered(t *testing.T, format, value string) (string, error) {
	t.Helper()
	r := rendering{format: format, values: true}
	return r.text(envtemplate.Generation{Vars: environ.FromMap(map[string]string{"NAME": value})})
}

// adversarial are awkward and many more, made of their characters.
func adversarial() []string {
	rng := mathrand.New(mathrand.NewPCG(1, 2)) //nolint:gosec // the same ones each time
	pieces := []string{"'", `"`, `\`, "\n", "\r", "$", "`", "#", " ", "=", "{", "}", "(", ")", "%", "<<", "::", "!", "~", "*", "\t", "é", "\u2028", "a", "EOF", "\\n", "${HOME}", "\x01", "\xff"}
	values := slices.Clone(awkward)
	for range 600 {
		var b strings.Builder
		for range 1 + rng.IntN(9) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		values = append(values, b.String())
	}
	return values
}

// numbered gives each value a variable.
func numbered(values []string) (names []string, vars environ.Environ) {
	all := map[string]string{}
	for i, value := range values {
		names = append(names, fmt.Sprintf("V%03d", i))
		all[names[i]] = value
	}
	return names, environ.FromMap(all)
}

// A shell that evaluates it has the values and nothing else; so has one that sources a dotenv file.
func TestRenderShell(t *testing.T) {
	values := adversarial()
	names, vars := numbered(values)
	for _, format := range []string{"env", "dotenv"} {
		text, err := (&rendering{format: format, values: true}).text(envtemplate.Generation{Vars: vars})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh")
		cmd.Stdin = strings.NewReader(text + "\nprintf '%s\\0' \"$" + strings.Join(names, "\" \"$") + "\"\n")
		cmd.Env = []string{"HOME=/home"}
		out, err := cmd.Output()
		got := strings.Split(string(out), "\x00")
		if err != nil || len(got) != len(values)+1 {
			t.Fatalf("%s: %d values, %v", format, len(got), err)
		}
		for i, value := range values {
			if got[i] != value && !(format == "dotenv" && strings.Contains(value, "\r")) {
				t.Errorf("%s: %q became %q", format, value, got[i])
			}
		}
	}
}

// Our own reader of env files gives the values back.
func TestRenderDotenv(t *testing.T) {
	dir := t.TempDir()
	values := adversarial()
	names, vars := numbered(values)
	text, err := (&rendering{format: "dotenv", values: true}).text(envtemplate.Generation{Vars: vars})
	if err != nil {
		t.Fatal(err)
	}
	place(t, dir, "out.env", text)
	out, err := exec.CommandContext(t.Context(), "envexec", "--references=false", "--env-file", dir+"/out.env", "--", "env", "-0").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := environ.From(strings.Split(string(out), "\x00"))
	for i, name := range names {
		if value, _ := got.Get(name); value != values[i] {
			t.Errorf("%q became %q", values[i], value)
		}
	}
}

// A reader of JSON has every value, of whatever bytes.
func TestRenderJSON(t *testing.T) {
	values := adversarial()
	names, vars := numbered(values)
	text, err := (&rendering{format: "json", values: true}).text(envtemplate.Generation{Vars: vars})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Variables map[string]struct {
			Value       string
			ValueBase64 []byte `json:"value_base64"`
		}
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if v := got.Variables[name]; v.Value+string(v.ValueBase64) != values[i] {
			t.Errorf("%q became %q", values[i], v)
		}
	}
}

// GitLab's parser splits lines, cuts at the first = and strips both sides: it gives the
// value back, or the report is refused.
func FuzzRenderGitLab(f *testing.F) {
	for _, value := range awkward {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text, err := rendered(t, "gitlab", value)
		if err != nil {
			if value != "" && strings.Contains(err.Error(), value) && len(value) > 20 {
				t.Errorf("the refusal shows the value: %v", err)
			}
			return
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		name, got, _ := strings.Cut(lines[0], "=")
		if got = strings.Trim(got, " \t\n\v\f\r\x00"); len(lines) != 1 || name != "NAME" || got != value {
			t.Errorf("%q became %q", value, lines)
		}
	})
}

// The runner's reader gives the value back, and no other variable, whatever it holds.
func FuzzRenderGitHub(f *testing.F) {
	for _, value := range awkward {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.Contains(value, "\x00") {
			return // no variable can hold it
		}
		text, err := rendered(t, "github", value)
		if err != nil && strings.HasSuffix(value, "\r") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, windows := range []bool{false, true} {
			if got := readGitHubEnv(t, text, windows); len(got) != 1 || got["NAME"] != value {
				t.Errorf("%q became %q", value, got)
			}
		}
		masks := githubMasks(environ.FromMap(map[string]string{"NAME": value}))
		for line := range strings.Lines(masks) {
			if !strings.HasPrefix(line, "::add-mask::") || strings.TrimSpace(line) == "::add-mask::" {
				t.Errorf("%q: bad mask %q", value, line)
			}
		}
	})
}

// readGitHubEnv reads as the runner does: NAME=VALUE, or NAME<<DELIMITER up to that line.
// A line ends with LF, on Windows with CRLF too; those inside a value stay as they are.
func readGitHubEnv(t *testing.T, text string, windows bool) map[string]string {
	t.Helper()
	vars := map[string]string{}
	next := func() (line, end string, ok bool) {
		line, rest, found := strings.Cut(text, "\n")
		if ok = text != ""; found {
			end = "\n"
		}
		text = rest
		if bare, cr := strings.CutSuffix(line, "\r"); cr && windows {
			line, end = bare, "\r\n"
		}
		return line, end, ok
	}
	for line, _, ok := next(); ok; line, _, ok = next() {
		name, delimiter, heredoc := strings.Cut(line, "<<")
		if !heredoc {
			t.Fatalf("a line that is no heredoc: %q", line)
		}
		value, before := "", ""
		for {
			line, end, ok := next()
			if !ok {
				t.Fatalf("delimiter %q never comes", delimiter)
			}
			if line == delimiter {
				break
			}
			value, before = value+before+line, end
		}
		vars[name] = value
	}
	return vars
}

func TestRenderRefuses(t *testing.T) {
	for _, value := range []string{"a\nb", " a", "a "} {
		if text, err := rendered(t, "gitlab", value); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q %v", value, text, err)
		}
	}
	r := rendering{format: "github", values: true}
	if _, err := r.text(envtemplate.Generation{Vars: environ.FromMap(map[string]string{"A<<B": "x"})}); err == nil {
		t.Error("a name that is a heredoc itself is written")
	}
	for _, name := range []string{"NODE_OPTIONS", "GITHUB_PATH", "runner_temp"} {
		if _, err := r.text(envtemplate.Generation{Vars: environ.FromMap(map[string]string{name: "x"})}); err == nil {
			t.Errorf("%s is written, which the runner refuses", name)
		}
	}
}
