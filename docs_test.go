package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/internal/vaulttest"
)

var update = flag.Bool("update", false, "write what is made from the code into the documents")

// TestDocsFlags keeps the README's table of flags equal to the code's.
func TestDocsFlags(t *testing.T) {
	const begin, end = "<!-- flags: made from the code by `go test -run Docs -update .` -->\n", "<!-- end of flags -->"
	readme := readFile(t, "README.md")
	head, rest, _ := strings.Cut(readme, begin)
	table, tail, found := strings.Cut(rest, end)
	if !found {
		t.Fatal("README.md has lost the marks of its table of flags")
	}
	want := flagTable()
	if table == want {
		return
	}
	if !*update {
		t.Fatal("README.md: the table of flags differs from the code: go test -run Docs -update .")
	}
	if err := os.WriteFile("README.md", []byte(head+begin+want+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func flagTable() string {
	var b strings.Builder
	group := ""
	for _, f := range config.Flags() {
		if f.Hidden {
			continue
		}
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n| %s | |\n|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(f.Spelling(), "|", `\|`), strings.ReplaceAll(f.Usage, "|", `\|`))
	}
	return b.String() + "\n"
}

// TestDocsExamples runs the README's examples against a real Vault.
func TestDocsExamples(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.PutKV2(t, "secret/app", map[string]any{"mode": "test"})
	v.PutKV2(t, "secret/web", map[string]any{"key": "pem"})
	v.PutKV2(t, "secret/ci", map[string]any{"npm_token": "t"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "reader")
	dir := t.TempDir()
	place(t, dir, "role-id", role.ID)
	place(t, dir, "secret-id", role.SecretID)
	place(t, dir, "npm", "#!/bin/sh\ntest \"$1 $NPM_TOKEN\" = 'publish t'\n")
	place(t, dir, "agent.hcl", `auto_auth { method "approle" { config = {
		role_id_file_path = "role-id"
		secret_id_file_path = "secret-id"
		remove_secret_id_file_after_reading = false } } }
		env_template "DB" { contents = "{{ with secret \"secret/db\" }}{{ .Data.data.password }}{{ end }}" }
		exec { command = ["app"] }`)
	place(t, dir, "app", "#!/bin/sh\nexit 0\n")

	readme := readFile(t, "README.md")
	login := []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID}
	for i, script := range blocks(readme, "sh") {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, login) })
	}
	for _, line := range submatches(readme, `(?m)^  - run: (.*)$`) {
		t.Run("ci job", func(t *testing.T) { runExample(t, dir, line, login) })
	}
	t.Run("dockerfile", func(t *testing.T) {
		file := blocks(readme, "dockerfile")[0]
		var entrypoint []string
		if err := json.Unmarshal([]byte(submatches(file, `(?m)^ENTRYPOINT (.*)$`)[0]), &entrypoint); err != nil {
			t.Fatal(err)
		}
		script := strings.ReplaceAll(strings.Join(entrypoint, " "), "/", "")
		runExample(t, dir, script, append(login, submatches(file, `(?m)^ENV (DB_.*)$`)...))
	})
	t.Run("unit", func(t *testing.T) {
		unit := blocks(readme, "ini")[0]
		env := strings.Fields(strings.ReplaceAll(submatches(unit, `(?m)^Environment=(.*)$`)[0], "%d", dir))
		env = append(env, login[0], "VAULT_ROLE_ID="+role.ID) // the last one counts
		script := strings.ReplaceAll(submatches(unit, `(?m)^ExecStart=(.*)$`)[0], "/usr/bin/", "")
		runExample(t, dir, script, env)
	})
}

func runExample(t *testing.T, dir, script string, env []string) {
	t.Helper()
	// testscript put envexec itself first on PATH; the stand-ins of the programs go before it.
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + dir}, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v in\n%s\n%s", err, script, out)
	}
}

func blocks(text, language string) []string {
	return submatches(text, "(?ms)^```"+language+"\n(.*?)^```$")
}

func submatches(text, pattern string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

func place(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocsSupervision runs the examples of docs/supervision.md against a real Vault,
// with stand-ins that end at once for the programs.
func TestDocsSupervision(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"url": "u", "password": "p"})
	v.PutKV2(t, "secret/web", map[string]any{"cert": "c", "key": "k"})
	dir := t.TempDir()
	for _, name := range []string{"app", "go-server", "gunicorn", "nginx", "ready"} {
		place(t, dir, name, "#!/bin/sh\nexit 0\n")
	}
	page := readFile(t, filepath.Join("docs", "supervision.md"))
	// Other tests have ports of their own.
	page = regexp.MustCompile(`(:80|:84)[0-9]{2}\b`).ReplaceAllString(page, ":0")
	env := []string{"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.RootToken}
	for i, script := range blocks(page, "sh") {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, env) })
	}
	t.Run("dockerfile", func(t *testing.T) {
		for _, line := range submatches(blocks(page, "dockerfile")[0], `(?m)^(?:ENTRYPOINT|HEALTHCHECK CMD) (.*)$`) {
			var command []string
			if err := json.Unmarshal([]byte(line), &command); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if command[0] != "/envexec" {
				t.Errorf("%s does not run envexec", line)
			}
		}
	})
	t.Run("links", func(t *testing.T) {
		for _, target := range submatches(page, `\]\(([^)#]+)[^)]*\)`) {
			if _, err := os.Stat(filepath.Join("docs", target)); err != nil {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestDocsConfiguration runs the commands of the reference page.
func TestDocsConfiguration(t *testing.T) {
	for _, script := range blocks(readFile(t, "docs/configuration.md"), "sh") {
		runExample(t, t.TempDir(), script, nil)
	}
}
