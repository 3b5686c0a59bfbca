package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/vaulttest"
)

// TestDocsMigration runs the examples of docs/migration.md against a real Vault.
func TestDocsMigration(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	dir := t.TempDir()
	place(t, dir, "app", "#!/bin/sh\ntest \"$DB\" = s3cret -o \"$(cat out.conf 2>/dev/null)\" = s3cret -o \"$URL\" = postgres://app:s3cret@db -o \"$password\" = s3cret -o \"$DB_PASSWORD\" = s3cret\n")
	place(t, dir, "token", v.RootToken)
	place(t, dir, "agent.hcl", `auto_auth { method "token_file" { config = { token_file_path = "token" } } }
		env_template "DB" { contents = "{{ with secret \"secret/db\" }}{{ .Data.data.password }}{{ end }}" }
		exec { command = ["app"] }`)
	examples := blocks(readFile(t, "docs/migration.md"), "sh")
	place(t, dir, "app.tpl", `{{ with secret "secret/db" }}{{ .Data.data.password }}{{ end }}`)
	place(t, dir, "reload", "#!/bin/sh\nexit 0\n")
	if len(examples) != 6 {
		t.Fatalf("%d examples", len(examples))
	}
	for i, script := range examples {
		t.Run(fmt.Sprintf("sh %d", i+1), func(t *testing.T) {
			runExample(t, dir, script, []string{"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.RootToken})
		})
	}
}

// Each line of a table of docs/migration.md has a case here: what it names on our side is
// accepted and does what it says. A variable that is "the same" means what the flag means.
func TestDocsMigrationTables(t *testing.T) {
	type probe struct {
		vars, args string // either way alone, with the same result
		holds      func(c *config.Config) bool
	}
	from := func(c *config.Config) bool { return len(c.Secrets.From) == 1 && c.Secrets.From[0].Path == "secret/db" }
	kubernetes := func(c *config.Config) bool { return c.Login.Method == "kubernetes" }
	probes := map[string]probe{
		"`VAULT_ENV_FROM_PATH`":                        {"VAULT_ENV_FROM_PATH=secret/db", "--from secret/db", from},
		"`VAULT_IGNORE_MISSING_SECRETS`":               {"VAULT_IGNORE_MISSING_SECRETS=true", "--ignore-missing", func(c *config.Config) bool { return c.Secrets.IgnoreMissing }},
		"`VAULT_ENV_PASSTHROUGH=A,B`":                  {"", "--keep-env A,B", func(c *config.Config) bool { return slices.Equal(c.Environment.Keep, []string{"A", "B"}) }},
		"`VAULT_ENV_DAEMON=true`":                      {"", "--once", func(c *config.Config) bool { return c.Start.Once }},
		"`VAULT_REVOKE_TOKEN=false`":                   {"", "--no-revoke", func(c *config.Config) bool { return !c.Login.Revoke }},
		"`VAULT_JSON_LOG=true`":                        {"", "--log-format json", func(c *config.Config) bool { return c.Log.Format == "json" }},
		"`VAULT_ENV_DELAY`":                            {"", "", func(*config.Config) bool { return true }},
		"`VAULT_TOKEN_FILE`":                           {"VAULT_TOKEN_FILE=/t", "--token-file /t", func(c *config.Config) bool { return c.Login.TokenFile == "/t" }},
		"`VAULT_TOKEN=vault:login`":                    {"VAULT_TOKEN=vault:login VAULT_AUTH_METHOD=kubernetes VAULT_ROLE=r", "--program-token --auth kubernetes --role r", func(c *config.Config) bool { return kubernetes(c) && c.Login.ProgramToken }},
		"`VAULT_TRANSIT_BATCH_SIZE`":                   {"", "", func(*config.Config) bool { return true }},
		"`VAULT_AUTH_METHOD`, `VAULT_ROLE`":            {"VAULT_AUTH_METHOD=kubernetes VAULT_ROLE=r", "--auth kubernetes --role r", func(c *config.Config) bool { return kubernetes(c) && c.Login.Settings["role"] == "r" }},
		"`VAULT_PATH`":                                 {"", "--auth kubernetes --role r --auth-path k8s", func(c *config.Config) bool { return c.Login.MountPath == "auth/k8s" }},
		"`VAULT_TRANSIT_KEY_ID`, `VAULT_TRANSIT_PATH`": {"VAULT_TRANSIT_KEY_ID=k VAULT_TRANSIT_PATH=t", "--transit-key k --transit-mount t", func(c *config.Config) bool { return c.Secrets.TransitKey == "k" && c.Secrets.TransitMount == "t" }},
		"`-secret secret/db`":                          {"", "--from secret/db --prefix db_", func(c *config.Config) bool { return from(c) && c.Secrets.From[0].Prefix == "db_" }},
		"`-upcase`":                                    {"", "--from secret/db --upcase", func(c *config.Config) bool { return c.Secrets.From[0].Upcase }},
		"`-sanitize`":                                  {"", "", func(*config.Config) bool { return true }},
		"`-pristine`":                                  {"", "--clear-env", func(c *config.Config) bool { return c.Environment.Clear }},
		"`-once`":                                      {"", "--once", func(c *config.Config) bool { return c.Start.Once }},
		"`-exec-kill-signal`, `-exec-kill-timeout`":    {"", "--stop-signal INT --stop-timeout 5s", func(c *config.Config) bool { return c.Stop.Signal == "INT" && c.Stop.Timeout == 5*time.Second }},
		"`-exec-splay`":                                {"", "--splay 5s", func(c *config.Config) bool { return c.Change.Splay == 5*time.Second }},
		"`-reload-signal`":                             {"", "-reload-signal USR2", func(c *config.Config) bool { return c.Start.ReloadSignal == "USR2" }},
		"`-log-level`, `-pid-file`, `-config`":         {"", "-log-level warn -pid-file=/p", func(c *config.Config) bool { return c.Log.Level == "warn" && c.PIDFile == "/p" }},
		"`VAULT_FROM_PATH`":                            {"VAULT_ENV_FROM_PATH=secret/db", "--from secret/db", from},
		"`ref+vault://secret/db#/password`":            {"", "", func(c *config.Config) bool { return c.Secrets.References }},
		"`vals exec -f FILE`":                          {"", "--env DB=secret/db#password", func(c *config.Config) bool { return c.Secrets.Variables[0].Path == "secret/db" }},
		"`VAULT_ROLE_ID`, `VAULT_SECRET_ID`":           {"VAULT_ROLE_ID=r VAULT_SECRET_ID=s", "", func(c *config.Config) bool { return c.Login.Method == "approle" }},
		"`VAULT_USERNAME`, `VAULT_PASSWORD_FILE`":      {"VAULT_AUTH_METHOD=userpass VAULT_USERNAME=u VAULT_PASSWORD_FILE=/p", "", func(c *config.Config) bool { return c.Login.Method == "userpass" }},
		"`VAULT_KUBERNETES_MOUNT_POINT`":               {"", "--auth kubernetes --role r --auth-path k", func(c *config.Config) bool { return kubernetes(c) && c.Login.MountPath == "auth/k" }},
		"`VAULT_KUBERNETES_JWT_TOKEN_PATH`":            {"", "--auth kubernetes --role r --auth-config token_path=/t", func(c *config.Config) bool { return c.Login.Settings["token_path"] == "/t" }},
		"`-template IN:OUT`": {"", "--file OUT=IN", func(c *config.Config) bool {
			return c.Secrets.RenderFiles[0].Source == "IN" && c.Secrets.RenderFiles[0].Destination == "OUT"
		}},
		"`-template IN:OUT:COMMAND`":                      {"", `--set template={source="IN",destination="OUT",command=["C"]}`, func(c *config.Config) bool { return c.Secrets.Templates[0].Command[0] == "C" }},
		"`-exec COMMAND`":                                 {"", "", func(c *config.Config) bool { return c.Program.Args[0] == "app" }},
		"`-exec-reload-signal SIG`":                       {"", "--on-change signal:USR1", func(c *config.Config) bool { return c.Change.Policy == "signal" && c.Change.Signal == "USR1" }},
		"`-exec-kill-signal SIG`, `-exec-kill-timeout D`": {"", "--stop-signal INT --stop-timeout 5s", func(c *config.Config) bool { return c.Stop.Signal == "INT" && c.Stop.Timeout == 5*time.Second }},
		"`-exec-splay D`":                                 {"", "--splay 5s", func(c *config.Config) bool { return c.Change.Splay == 5*time.Second }},
		"`-wait MIN:MAX`": {"", "--quiet 2s --quiet-max 8s", func(c *config.Config) bool {
			return c.Change.Quiet == 2*time.Second && c.Change.QuietMax == 8*time.Second
		}},
		"`-dry`":        {"", "render --show-values --from secret/db", func(c *config.Config) bool { return c.Word == config.Render && c.Check.ShowValues }},
		"`-parse-only`": {"", "check --offline", func(c *config.Config) bool { return c.Word == config.Check && c.Check.Offline }},
		"`-vault-addr URL`, `-vault-namespace NS`":                      {"VAULT_ADDR=http://v:1 VAULT_NAMESPACE=n", "--address http://v:1 --namespace n", func(c *config.Config) bool { return c.Vault.Address == "http://v:1" && c.Vault.Namespace == "n/" }},
		"`-vault-agent-token-file FILE`":                                {"", "--token-file /t", func(c *config.Config) bool { return c.Login.TokenFile == "/t" }},
		"`-vault-renew-token`, `VAULT_RENEW_TOKEN`":                     {"", "", func(*config.Config) bool { return true }},
		"`VAULT_K8S_AUTH_ROLE_NAME`":                                    {"", "--auth kubernetes --role r", kubernetes},
		"`VAULT_K8S_SERVICE_ACCOUNT_TOKEN_PATH`":                        {"", "--auth kubernetes --role r --auth-config token_path=/t", func(c *config.Config) bool { return c.Login.Settings["token_path"] == "/t" }},
		"`VAULT_K8S_SERVICE_ACCOUNT_TOKEN`":                             {"VAULT_AUTH_METHOD=kubernetes VAULT_ROLE=r VAULT_JWT_FILE=/t", "", func(c *config.Config) bool { return kubernetes(c) && c.Login.Settings["token_path"] == "/t" }},
		"`VAULT_K8S_SERVICE_MOUNT_PATH`":                                {"", "--auth kubernetes --role r --auth-path k", func(c *config.Config) bool { return c.Login.MountPath == "auth/k" }},
		"`VAULT_UNWRAP_TOKEN`":                                          {"", "", func(*config.Config) bool { return true }},
		"`--secrets-file FILE` with lines `NAME=PATH#KEY`":              {"", "--env DB=secret/db#password", func(c *config.Config) bool { return c.Secrets.Variables[0].Path == "secret/db" }},
		"`--no-inherit-env`, `--pristine`, `--reset`, `--only-secrets`": {"", "--clear-env", func(c *config.Config) bool { return c.Environment.Clear }},
		"`--duplicate-variable-behavior error`, `--preserve-env`":       {"", "--on-conflict keep", func(c *config.Config) bool { return c.Environment.OnConflict == "keep" }},
		"`secrets.yml` with `NAME: !var PATH`, `-e ENVIRONMENT`":        {"", "--env DB=secret/db#password", func(c *config.Config) bool { return c.Secrets.Variables[0].Name == "DB" }},
		"`!var:file PATH`, `?destination=tempfile`, `exec-file`":        {"", "--env DB=secret/db#password --as-file DB", func(c *config.Config) bool { return c.Secrets.Variables[0].Delivery != "" || len(c.Secrets.Named) > 0 }},
		"`chamber exec SERVICE`":                                        {"", "--from secret/db --upcase", func(c *config.Config) bool { return from(c) && c.Secrets.From[0].Upcase }},
		"`teller env`, `chamber export --format dotenv`":                {"", "render --format dotenv --show-values --from secret/db", func(c *config.Config) bool { return c.Word == config.Render && c.Check.Format == "dotenv" }},
		"`--watch`":     {"", "--on-change restart", func(c *config.Config) bool { return c.Change.Policy == "restart" }},
		"`--user NAME`": {"", "--user root", func(c *config.Config) bool { return c.Program.User == "root" }},
	}
	flags := map[string]bool{}
	for _, f := range config.Flags() {
		flags["--"+f.Name] = true
	}
	seen := map[string]bool{}
	page := readFile(t, "docs/migration.md")
	_, tables, _ := strings.Cut(page, "## vault-env")
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`.*?) \| (.*) \|$`).FindAllStringSubmatch(tables, -1) {
		p, ok := probes[row[1]]
		if seen[row[1]] = true; !ok {
			t.Errorf("no case for %s", row[0])
			continue
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(row[2], -1) {
			if !flags[flag] && flag != "--" {
				t.Errorf("%s: no flag %s", row[1], flag)
			}
		}
		for _, way := range [][2]string{{p.vars, ""}, {"", p.args}} {
			if way[0]+way[1] == "" && p.vars+p.args != "" {
				continue
			}
			c, err := config.Parse(append(strings.Fields(way[1]), "--", "app"), environ.From(strings.Fields(way[0])))
			if err != nil || !p.holds(c) {
				t.Errorf("%s by %q: %v", row[1], way, err)
			}
		}
	}
	for name := range probes {
		if !seen[name] {
			t.Errorf("no line for %s", name)
		}
	}
}
