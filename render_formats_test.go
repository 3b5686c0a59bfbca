package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// awkward are values that try to be more than a value.
var awkward = []string{
	"", "plain", "with space", " lead", "tail ", "a'b", `a"b`, `a\b`, "a\nb", "a\r\nb\r\n", "\n", "$HOME", "`id`", "$(id)", "a#b", " # c", "é", "a=b", "%0A", "-----BEGIN\nx\n-----END\n",
	"x\nEOF\nPATH=/evil", "x\nenvexec_\nPATH<<envexec_\n/evil\nenvexec_", "'\\''", "!x", "*", "~", "a\tb", "\u2028", "export A=1",
}

func rendered(t *testing.T, format, value string) (string, error) {
	t.Helper()
	r := rendering{format: format, values: true}
	return r.text(envtemplate.Generation{Vars: environ.FromMap(map[string]string{"NAME": value})})
}

// A shell that evaluates it has the value and nothing else.
func TestRenderShell(t *testing.T) {
	for _, value := range awkward {
		text, err := rendered(t, "env", value)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", text+"\nprintf %s \"$NAME\"")
		cmd.Env = []string{"HOME=/home"}
		if out, err := cmd.Output(); err != nil || string(out) != value {
			t.Errorf("%q: %q %v", value, out, err)
		}
	}
}

// Our own reader of env files gives the values back.
func TestRenderDotenv(t *testing.T) {
	dir := t.TempDir()
	vars, names := map[string]string{}, []string{}
	for i, value := range awkward {
		names = append(names, fmt.Sprintf("V%02d", i))
		vars[names[i]] = value
	}
	text, err := (&rendering{format: "dotenv", values: true}).text(envtemplate.Generation{Vars: environ.FromMap(vars)})
	if err != nil {
		t.Fatal(err)
	}
	place(t, dir, "out.env", text)
	out, err := exec.CommandContext(t.Context(), "envexec", "--env-file", dir+"/out.env", "--", "env", "-0").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := environ.From(strings.Split(string(out), "\x00"))
	for _, name := range names {
		if value, _ := got.Get(name); value != vars[name] {
			t.Errorf("%q became %q", vars[name], value)
		}
	}
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
		if err != nil {
			t.Fatal(err)
		}
		got := readGitHubEnv(t, text)
		want := strings.ReplaceAll(value, "\r\n", "\n") // the runner's lines end either way
		if len(got) != 1 || strings.ReplaceAll(got["NAME"], "\r\n", "\n") != want {
			t.Errorf("%q became %q", value, got)
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
func readGitHubEnv(t *testing.T, text string) map[string]string {
	t.Helper()
	vars := map[string]string{}
	lines := bufio.NewReader(strings.NewReader(text))
	next := func() (string, bool) {
		line, err := lines.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err == nil
	}
	for line, ok := next(); ok; line, ok = next() {
		name, delimiter, heredoc := strings.Cut(line, "<<")
		if !heredoc {
			t.Fatalf("a line that is no heredoc: %q", line)
		}
		var value []string
		for line, ok = next(); ok && line != delimiter; line, ok = next() {
			value = append(value, line)
		}
		if !ok {
			t.Fatalf("delimiter %q never comes", delimiter)
		}
		vars[name] = strings.Join(value, "\n")
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
}
