package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsCommands runs the examples of docs/commands.md against a real Vault.
func TestDocsCommands(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }
		path "secret/metadata/*" { capabilities = ["list"] }`)
	role := v.AppRole(t, nil, "reader")
	dir := t.TempDir()
	place(t, dir, "role-id", role.ID)
	place(t, dir, "secret-id", role.SecretID)
	place(t, dir, "app", "#!/bin/sh\nexit 0\n")
	place(t, dir, "agent.hcl", `auto_auth { method "approle" { config = {
		role_id_file_path = "role-id"
		secret_id_file_path = "secret-id" } } }
		exec { command = ["app"] }`)
	examples := blocks(readFile(t, "docs/commands.md"), "sh")
	if len(examples) == 0 {
		t.Fatal("docs/commands.md has no example")
	}
	for i, script := range examples {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) { runExample(t, dir, script, []string{"VAULT_ADDR=" + v.Addr}) })
	}
}

func TestAsksForJSON(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"check", "--format", "json"}, true},
		{[]string{"-format=json", "check"}, true},
		{[]string{"check", "--format"}, false},
		{[]string{"check", "--format", "text"}, false},
		{[]string{"--format", "json"}, false},
		{[]string{"check", "--", "--format", "json"}, false},
	} {
		if got := asksForJSON(c.args); got != c.want {
			t.Errorf("asksForJSON(%q) = %v, want %v", c.args, got, c.want)
		}
	}
}

// What check prints for machines is what docs/commands.md says.
func TestDocsCheckJSON(t *testing.T) {
	page := readFile(t, "docs/commands.md")
	_, table, _ := strings.Cut(page, "| Area | What |")
	table, _, _ = strings.Cut(table, "\n\n")
	if documented := submatches(table, "(?m)^\\| `([a-z]+)` \\|"); !slices.Equal(documented, areas) {
		t.Errorf("documented areas %q, in the code %q", documented, areas)
	}
	_, table, _ = strings.Cut(page, "| Field | What |")
	table, _, _ = strings.Cut(table, "\n\n")
	fields := submatches(table, "(?m)^\\| `([a-z]+)` \\|")

	dir := t.TempDir()
	place(t, dir, "bad.hcl", "listner {}\n")
	place(t, dir, "good.hcl", "listener \"unix\" {\n address = \"nowhere/s\"\n tls_disable = true\n}\n")
	for _, args := range [][]string{
		{"--config", dir + "/bad.hcl"},
		{"--offline", "--explain", "--config", dir + "/good.hcl"},
		{"--config", dir + "/good.hcl", "--address", "http://127.0.0.1:1"},
	} {
		cmd := exec.CommandContext(t.Context(), "envexec", append([]string{"check", "--format", "json"}, args...)...)
		out, err := cmd.Output()
		var got struct {
			OK       bool
			Status   int
			Findings []struct{ Level, Area, Message string }
			Settings []struct {
				Key, Value, Origin, Flag, Default string
				Env                               []string
			}
		}
		read := json.NewDecoder(bytes.NewReader(out))
		read.DisallowUnknownFields()
		if e := read.Decode(&got); e != nil {
			t.Fatalf("%v: %v\n%s", args, e, out)
		}
		if got.OK != (err == nil) || got.Status != cmd.ProcessState.ExitCode() || len(got.Findings) == 0 || slices.Contains(args, "--explain") != (len(got.Settings) > 0) {
			t.Errorf("%v: %s", args, out)
		}
		for _, f := range got.Findings {
			if !slices.Contains(areas, f.Area) || !slices.Contains([]string{"ok", "warning", "problem"}, f.Level) || f.Message == "" {
				t.Errorf("%v: %+v", args, f)
			}
		}
		var raw map[string]any
		if err := json.Unmarshal(out, &raw); err != nil {
			t.Fatal(err)
		}
		if list, ok := raw["settings"].([]any); ok && list[0].(map[string]any)["key"] == nil {
			t.Errorf("the names of settings' fields are not documented: %v", list[0])
		}
		for name := range raw {
			if !slices.Contains(fields, name) {
				t.Errorf("field %q is not documented", name)
			}
		}
	}
}
