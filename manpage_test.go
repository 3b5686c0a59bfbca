package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/internal/vaulttest"
)

const manPath = "docs/envexec.1"

// TestDocsManPage keeps envexec(1) equal to the code; -update writes it (make man).
func TestDocsManPage(t *testing.T) {
	if *update {
		if err := os.WriteFile(manPath, []byte(manPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if readFile(t, manPath) != manPage() {
		t.Error(manPath + " differs from the code: make man")
	}
}

// Nothing in it is wrong for those who read it.
func TestManPageIsClean(t *testing.T) {
	groff, err := exec.LookPath("groff") // what man --warnings runs
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartGroff, "apt-get install groff-base")
	}
	if out, err := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-z", "-Tutf8", manPath).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// So does the other reader of man pages, of the BSDs, macOS and Alpine. It would have a date, which we have not.
func TestManPageIsCleanForMandoc(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartMandoc, "apt-get install mandoc")
	}
	out, _ := exec.CommandContext(t.Context(), mandoc, "-T", "lint", "-W", "warning", manPath).CombinedOutput() // its status is the level
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "missing date") {
			t.Error(line)
		}
	}
}

// manPage is envexec(1) in the man macros of groff, made from the flags there are.
func manPage() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`.TH ENVEXEC 1 "" "envexec" "User Commands"`)
	p(".SH NAME\nenvexec \\- run a program with secrets from Vault")
	p(".SH SYNOPSIS\n.B envexec\n[\\fIflags\\fR] \\fB\\-\\-\\fR \\fIprogram\\fR [\\fIargs\\fR]\n.br\n.B envexec\n\\fIcommand\\fR [\\fIflags\\fR]")
	p(".SH DESCRIPTION\nenvexec logs in to Vault, renders secrets into the environment and files of a program, starts it, keeps every token and lease alive, and restarts, signals or hands over when a secret really changes.")
	p(".SH COMMANDS")
	for _, w := range config.Commands() {
		p(".TP\n.B %s\n%s", w.Name, roff(w.Usage))
	}
	p(".SH OPTIONS\nEvery flag has a variable: \\fB\\-\\-stop\\-timeout\\fR is \\fBENVEXEC_STOP_TIMEOUT\\fR. A flag goes before its variable, that before the configuration file.")
	group := ""
	for _, f := range config.Flags() {
		if f.Group != group {
			group = f.Group
			p(".SS %s", roff(group))
		}
		spelling := "\\fB\\-\\-" + roff(f.Name) + "\\fR"
		if f.Short != "" {
			spelling = "\\fB\\-" + f.Short + "\\fR, " + spelling
		}
		if f.Arg != "" {
			spelling += " \\fI" + roff(f.Arg) + "\\fR"
		}
		p(".TP\n%s\n%s.", spelling, roff(strings.TrimSuffix(f.Usage, ".")))
		var others []string
		for _, name := range f.Env {
			if !strings.HasPrefix(name, "ENVEXEC_") {
				others = append(others, "\\fB"+roff(name)+"\\fR")
			}
		}
		if len(others) > 0 {
			p("Also %s.", strings.Join(others, ", "))
		}
	}
	p(".SH EXIT STATUS\nThat of the program. Of envexec itself:")
	for _, s := range [][2]string{
		{"64", "the command line cannot be meant"}, {"75", "Vault is not reachable in time"}, {"77", "the login is denied"},
		{"78", "the configuration is wrong, or a secret is missing or forbidden"}, {"125", "envexec itself failed"},
		{"126, 127", "the program cannot be run, or is not found"}, {"128+n", "the program died of signal n"},
	} {
		p(".TP\n.B %s\n%s", s[0], s[1])
	}
	p(".SH FILES\n.TP\n.I ~/.vault\\-token\nthe token used when no other login is named")
	p(".SH EXAMPLES\n.nf\nenvexec \\-\\-env 'DB_PASSWORD=secret/db#password' \\-\\- app\nenvexec \\-\\-config agent.hcl \\-\\- app\nenvexec check \\-\\-config agent.hcl\n.fi")
	p(".SH SEE ALSO\n.BR vault (1)")
	return b.String()
}

// roff escapes text for the macros.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
