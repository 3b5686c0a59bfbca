package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsProxy runs the examples of docs/proxy.md.
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
	page := readFile(t, "docs/proxy.md")
	place(t, dir, "proxy.hcl", blocks(page, "hcl")[0])
	env := []string{"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID}
	for i, script := range blocks(page, "sh") {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, env) })
	}
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
