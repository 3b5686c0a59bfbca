package config

import (
	"slices"
	"strings"
	"testing"
)

// The script for PowerShell, of which there is none to run it here: its quotes and brackets
// end, it is ASCII, and each command, flag and value is there as a literal of its own.
func TestPowerShellScript(t *testing.T) {
	c, err := parse(t, nil, nil, "--completion", "powershell")
	if err != nil {
		t.Fatal(err)
	}
	script := c.Words[0]
	literals := powershellLiterals(t, script)
	var want []string
	for _, command := range Commands() {
		want = append(want, command.Name)
	}
	for _, f := range Flags() {
		want = append(append(want, "--"+f.Name), f.choices()...)
	}
	for _, word := range want {
		if !slices.Contains(literals, word) {
			t.Errorf("%q is not completed", word)
		}
	}
	for _, f := range Flags() {
		if inOthers := strings.Contains(between(t, script, "$others = ", "\n"), "'--"+f.Name+"'"); inOthers != (f.Arg != "" && len(f.choices()) == 0) {
			t.Errorf("--%s takes a free value: %v", f.Name, inOthers)
		}
	}
	for _, need := range []string{
		"Register-ArgumentCompleter -Native -CommandName 'envexec' -ScriptBlock {\n  param($word, $ast, $position)\n",
		"-contains '--') { return }",
		"[System.Management.Automation.CompletionResult]::new(", // from version 5 on
	} {
		if !strings.Contains(script, need) {
			t.Errorf("no %q", need)
		}
	}
	for _, newer := range []string{" ?? ", "?.", " && ", " || ", "ForEach-Object -Parallel"} { // from version 7 on
		if strings.Contains(script, newer) {
			t.Errorf("%q is not known to version 5.1", newer)
		}
	}
	if got := powershellList([]string{"it's", "$x", "`"}); got != "@('it''s', '$x', '`')" {
		t.Error(got)
	}
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, from)
	found, _, ended := strings.Cut(rest, to)
	if !ok || !ended {
		t.Fatalf("nothing between %q and %q", from, to)
	}
	return found
}

// powershellLiterals returns what stands between single quotes.
func powershellLiterals(t *testing.T, script string) (literals []string) {
	t.Helper()
	var open []rune
	var quote rune
	start := 0
	comment := false
	for i, c := range script {
		switch {
		case c > '~':
			t.Fatalf("%q is not ASCII: version 5.1 reads a file in the code page of the system", c)
		case comment:
			comment = c != '\n'
		case quote != 0 && c == quote:
			if quote == '\'' {
				literals = append(literals, script[start:i])
			}
			quote = 0
		case quote != 0:
		case c == '#':
			comment = true
		case c == '\'' || c == '"':
			quote, start = c, i+1
		case strings.ContainsRune("({[", c):
			open = append(open, map[rune]rune{'(': ')', '{': '}', '[': ']'}[c])
		case strings.ContainsRune(")}]", c):
			if len(open) == 0 || open[len(open)-1] != c {
				t.Fatalf("%q closes nothing: %s", c, script[:i])
			}
			open = open[:len(open)-1]
		}
	}
	if quote != 0 || len(open) > 0 {
		t.Fatalf("left open: %q %q", quote, string(open))
	}
	return literals
}
