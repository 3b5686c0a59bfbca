package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsProxy runs the examples of docs/proxy.md: the file serves the clients after it.
func TestDocsProxy(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"mode": "test"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "reader")
	dir := t.TempDir()
	vault, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(vault, filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		vaulttest.Missing(t, vaulttest.PartClients, "no curl")
	}
	metrics := freePort(t)
	here := strings.NewReplacer("/etc/envexec/", dir+"/", "/run/envexec/", dir+"/", "/var/lib/envexec", dir+"/state", "127.0.0.1:9090", metrics,
		`socket_group = "app"`, fmt.Sprintf(`socket_group = "%d"`, os.Getgid()), `["app"]`, fmt.Sprintf(`["%d"]`, os.Getuid())).Replace
	page := readFile(t, "docs/proxy.md")
	place(t, dir, "proxy.hcl", here(blocks(page, "hcl")[0]))
	place(t, dir, "role-id", role.ID)
	place(t, dir, "secret-id", role.SecretID)
	place(t, dir, "key", "what nobody can guess")
	env := []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID}
	served := 0
	for i, script := range blocks(page, "sh") {
		script, serves := strings.CutSuffix(here(script), "envexec proxy --config proxy.hcl\n")
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, env) })
		if serves {
			served++
			serveExample(t, dir, env, "http://"+metrics+"/ready")
		}
	}
	if served != 1 {
		t.Errorf("proxy.hcl served %d times", served)
	}
}

// serveExample runs envexec proxy until the test's end, and returns when it is ready.
func serveExample(t *testing.T, dir string, env []string, ready string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command("envexec", "proxy", "--config", "proxy.hcl")
	cmd.Dir, cmd.Stderr, cmd.Env = dir, &said, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil {
			t.Errorf("envexec proxy: %v\n%s", err, said.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if answer, err := client.Get(ready); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatal("envexec proxy is never ready")
}

// TestDocsProxyBehaviour: each line of docs/proxy-behaviour.md names tests, and all of them exist.
func TestDocsProxyBehaviour(t *testing.T) {
	page := readFile(t, "docs/proxy-behaviour.md")
	rows := regexp.MustCompile(`(?m)^\| (.+) \| (.+) \|$`).FindAllStringSubmatch(page, -1)
	if len(rows) < 90 {
		t.Errorf("only %d lines", len(rows))
	}
	code := map[string]string{} // tests of each room
	for _, row := range rows {
		if strings.HasPrefix(row[2], "Shown ") {
			continue
		}
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1)
		if len(names) == 0 {
			t.Errorf("no test for %q", row[1])
		}
		for _, name := range names {
			if err := testExists(code, name[1]); err != nil {
				t.Errorf("%q: %v", row[1], err)
			}
		}
	}
}

// testExists looks for room.Test, script.txtar, or config/file.txtar#case.
func testExists(code map[string]string, name string) error {
	if file, one, ok := strings.Cut(name, "#"); ok {
		text, err := os.ReadFile(filepath.Join("config/testdata", strings.TrimPrefix(file, "config/")))
		if err == nil && !strings.Contains(string(text), "\n-- "+one+".hcl --\n") {
			err = fmt.Errorf("no case %s in %s", one, file)
		}
		return err
	}
	if strings.HasSuffix(name, ".txtar") {
		_, err := os.Stat(filepath.Join("testdata/script", name))
		return err
	}
	room, test, _ := strings.Cut(name, ".")
	if code[room] == "" {
		files, err := filepath.Glob(filepath.Join(strings.TrimPrefix(room, "root"), "*_test.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			code[room] += string(text)
		}
	}
	if !strings.Contains(code[room], "\nfunc "+test+"(") {
		return fmt.Errorf("no test %s", name)
	}
	return nil
}
