package config

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/envexec/envexec/environ"
)

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		c := mustParse(t, nil, nil, "--completion", shell)
		if c.Word != Completion || !strings.Contains(c.Words[0], "stop-timeout") || !strings.Contains(c.Words[0], "reload") {
			t.Errorf("%s: %s %q", shell, c.Word, c.Words)
		}
	}
	var u *UsageError
	if _, err := parse(t, nil, nil, "--completion", "bahs"); !errors.As(err, &u) || !strings.Contains(err.Error(), `did you mean "bash"?`) {
		t.Error(err)
	}
}

// A real bash completes flags, commands, and leaves what stands behind -- alone.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	for line, want := range map[string]string{
		"envexec --stop-t":      "--stop-timeout",
		"envexec re":            "render reload",
		"envexec check --offl":  "--offline",
		"envexec -- bas":        "bash",
		"envexec -- app --stop": "",
	} {
		cmd := exec.Command(bash, "--norc", "-c", bashScript()+`
COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _envexec; echo "${COMPREPLY[*]}"`, "x", line)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want && !(want == "bash" && strings.HasPrefix(got, "bash")) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		args  string
		word  Word
		words string
	}{
		{"check --offline --config a.hcl", Check, ""},
		{"--config a.hcl check --lenient", Check, ""},
		{"service install --config a.hcl", Service, ""},
		{"init --yes kv/a kv/b", Init, "kv/a kv/b"},
		{"--version", Version, ""},
		{"-v", Version, ""},
		{"version", Version, ""},
	} {
		c := mustParse(t, map[string]string{"a.hcl": ""}, nil, strings.Fields(tc.args)...)
		if c.Word != tc.word || strings.Join(c.Words, " ") != tc.words {
			t.Errorf("%s: %q %q", tc.args, c.Word, c.Words)
		}
	}
	for _, args := range []string{"check extra", "status now"} {
		var u *UsageError
		if _, err := parse(t, nil, nil, strings.Fields(args)...); !errors.As(err, &u) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// envexec -- help runs a program called help.
func TestWordsBehindTheCutAreThePrograms(t *testing.T) {
	for _, word := range []string{"help", "version", "check", "--help", "-v"} {
		if c := mustParse(t, nil, nil, "--", word); c.Word != Run || c.Program.Args[0] != word {
			t.Errorf("%s: %q %q", word, c.Word, c.Program.Args)
		}
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	c := mustParse(t, nil, nil, "-h")
	if c.Word != Help {
		t.Fatal(c.Word)
	}
	lines := strings.Split(c.Words[0], "\n")
	for _, l := range lines {
		if len([]rune(l)) > 130 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	if len(lines) > 120 {
		t.Errorf("%d lines", len(lines))
	}
}

// Every flag is described once, and none shadows another's variable.
func TestFlagsAreSound(t *testing.T) {
	seen := map[string]string{}
	for _, f := range Flags() {
		if f.Usage == "" || f.Group == "" {
			t.Errorf("--%s has no description", f.Name)
		}
		for _, name := range append([]string{"--" + f.Name}, f.Env...) {
			if other, dup := seen[name]; dup {
				t.Errorf("%s belongs to %s and %s", name, other, f.Name)
			}
			seen[name] = f.Name
		}
	}
}

func TestOriginsAreTold(t *testing.T) {
	c := mustParse(t, map[string]string{"a.hcl": "vault {\n  address = \"http://a:1\"\n}\nstop { signal = \"QUIT\" }\n", "x.env": "VAULT_NAMESPACE=team\n"},
		[]string{"ENVEXEC_QUIET=1s"}, "check", "--config", "a.hcl", "--splay", "2s", "--env-file", "x.env")
	want := map[string]string{
		"vault.address": "a.hcl:2:3", "stop.signal": "a.hcl:4:8", "change.quiet": "ENVEXEC_QUIET", "change.splay": "--splay",
		"change.quiet_max": "default", "vault.namespace": "VAULT_NAMESPACE in x.env:1:1",
	}
	for _, s := range c.Settings {
		if w, ok := want[s.Key]; ok {
			if s.Origin != w {
				t.Errorf("%s comes from %q, want %q", s.Key, s.Origin, w)
			}
			delete(want, s.Key)
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	c := mustParse(t, nil, []string{"ENVEXEC_STOP_TIMOUT=3", "ENVEXEC_GENERATION=1"}, "--", "app")
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), `did you mean "ENVEXEC_STOP_TIMEOUT"?`) {
		t.Errorf("%v", c.Warnings)
	}
}

func TestEnvFile(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"A=1\n# c\n\nexport B = two words # c\n", "A=1|B=two words"},
		{"A=\"x\\ny\\\"$\" # c\nB='\\n\"'\n", "A=x\ny\"$|B=\\n\""},
		{"A=\"one\ntwo\"\nB=1", "A=one\ntwo|B=1"},
		{"\xef\xbb\xbfA=1\r\nA=2\r\n", "A=2"},
		{"A='one \n two  \n'\nB=\" x \"  \nC='=' # c", "A=one \n two  \n|B= x |C=="},
		{"export A = 'x=\"'\n", "A=x=\""},
		{"A=", "A="},
		{"A=a#b\n", "A=a#b"},
	} {
		e, _, err := readEnvFile("x", []byte(tc.text))
		if got := strings.Join(e.List(), "|"); err != nil || got != tc.want {
			t.Errorf("%q: %q, %v", tc.text, got, err)
		}
	}
	for text, want := range map[string]string{"A": "x:1:1: not NAME=VALUE", "B=1\nA='x\n": "x:2:1: A: quote is never closed", "A='1\n2\n3'\nB=\"x\ny\"\nC": "x:6:1: not NAME=VALUE", "A='canary'x": "x:1:1: A: text after the closing quote"} {
		if _, _, err := readEnvFile("x", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestEnvFilesAreMerged(t *testing.T) {
	files := map[string]string{"1.env": "A=1\nB=1\n", "2.env": "B=2\n", "file.env": "A=file\nC=file\n", "a.hcl": "environment { files = [\"file.env\"] }\n"}
	c := mustParse(t, files, []string{"A=0", "D=0"}, "--config", "a.hcl", "--env-file", "1.env", "--env-file", "2.env", "--", "app")
	if got := strings.Join(c.Environment.Inherited.List(), " "); got != "A=1 B=2 C=file D=0" {
		t.Error(got)
	}
	if _, err := parse(t, nil, nil, "--env-file", "none.env", "--", "app"); err == nil || !strings.Contains(err.Error(), "none.env: ") {
		t.Error(err)
	}
}

// What the installed service is started with means the same in any directory.
func TestServiceInstallHandsOn(t *testing.T) {
	c := mustParse(t, nil, nil, "--upcase", "service", "install", "--name", "my app", "--account", "LocalSystem", "--config", "a.hcl", "--config=b",
		"--from", "secret/app", "--file", "out/cert=secret/tls#cert", "--on-change=hook:x y", "--log-file", "x.log", "--", "bin/app", "-c", "conf")
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	abs := func(p string) string { return filepath.Join(dir, filepath.FromSlash(p)) }
	want := []string{
		"--config=" + abs("a.hcl"), "--config=" + abs("b"), "--from=secret/app", "--upcase=true", "--file=" + abs("out/cert") + "=secret/tls#cert",
		"--on-change=hook:x y", "--log-file=" + abs("x.log"), "--", abs("bin/app"), "-c", "conf",
	}
	if s := c.Service; s.Verb != "install" || s.Name != "my app" || s.Account != "LocalSystem" || !slices.Equal(s.Args, want) {
		t.Errorf("%+v\nwant args %q", s, want)
	}
	if c := mustParse(t, nil, nil, "service", "stop"); c.Service.Name != "envexec" || c.Service.Verb != "stop" {
		t.Errorf("%+v", c.Service)
	}
	for args, want := range map[string]string{
		"service":                    "wants one of install",
		"service run":                "wants one of install",
		"service stop now":           "wants one of install",
		"service stop --config a":    "takes no flag but --name",
		"service install --name a/b": "no name of a service",
		"service status --name=":     "no name of a service",
		"service uninstall -- app":   "takes no flag but --name",
	} {
		if _, err := Parse(strings.Fields(args), environ.Environ{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// Whoever comes from another tool is told what to write here.
func TestForeignSpelling(t *testing.T) {
	for args, want := range map[string]string{
		"--vault-addr http://v":       "write --address",
		"-ns=team":                    "write --namespace",
		"-secret=secret/db -- app":    "write --from PATH",
		"-pristine -- app":            "write --clear-env",
		"-test-verify-only":           "write envexec check --offline",
		"-exec-kill-signal=INT":       "write --stop-signal",
		"-adress=x":                   "did you mean --address?",
		"-conifg=x.hcl":               "did you mean --config?",
		"check --ofline":              "did you mean --offline?",
		"render --show-value":         "did you mean --show-values?",
		"agent -config=x.hcl":         "write envexec --config FILE, or `envexec -- agent` if",
		"run -- app":                  "write envexec -- PROGRAM",
		"generate-config":             "write envexec init",
		"help check":                  "write envexec --help",
		"completion bash":             "write envexec --completion bash",
		"chek --offline":              "did you mean `envexec check` or `envexec -- chek`?",
		"chek -- app":                 "did you mean `envexec check`?",
		"app -- x":                    "flags stand before --",
		"--no-such-thing-at-all":      "envexec --help all lists them",
		"--log-format=jsn -- app":     `"jsn" is not one of text, json`,
		"--on-change=restrat -- app":  "restart",
		"--stop-signal=TREM -- app":   `did you mean "TERM"?`,
		"--restart=on-failed -- app":  "on-failure",
		"--completion powershel":      `did you mean "powershell"?`,
		"check --format yaml":         "text, json",
		"--auth aprole -- app":        `did you mean "approle"?`,
		"--set vualt.address=x --env": "--env needs a value",
	} {
		_, err := parse(t, nil, nil, strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", args, err, want)
		}
	}
	ours := map[string]bool{}
	for _, f := range Flags() {
		ours[f.Name] = true
	}
	for name, write := range foreignFlags {
		if ours[name] {
			t.Errorf("--%s is a flag of ours", name)
		}
		for _, word := range strings.Fields(write) {
			if flag, ok := strings.CutPrefix(strings.Trim(word, ",:"), "--"); ok && !ours[flag] {
				t.Errorf("%s: there is no --%s", name, flag)
			}
		}
	}
}
