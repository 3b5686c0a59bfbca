package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// effect is a script that shows what a line of docs/migration.md claims.
type effect struct {
	script string // sh, ends with 0; $ROOT is root's token, vault the real program
	says   string // in its output
	tokens int    // how many more are alive then
}

var effects = map[string]effect{
	// Vault Agent and Vault Proxy.
	"`exit_on_err`, `exit_on_retry_failure` absent": {script: `
		status 77 envexec --config denied.hcl
		status 77 envexec --config denied-patient.hcl --start-timeout 1s
		status 78 envexec --config absent.hcl
		status 75 envexec --config absent-patient.hcl --start-timeout 1s`, says: "login denied, waiting for changed credentials"},
	"`error_on_missing_key` absent": {script: `
		status 78 envexec --config key.hcl
		envexec --config key-patient.hcl`, says: `level=WARN .*nope(?s:.*)text=\[\]`},
	"`template` with `env_template` and `exec`, listener without `cache`": {script: `envexec --config both.hcl`, says: `both s3cret s3cret`},
	"`writeToFile` without `sandbox_path`": {script: `
		status 78 envexec --config write.hcl
		test ! -e written
		sed 's,#sandbox,sandbox_path = ".",' write.hcl > write-below.hcl
		envexec --config write-below.hcl -- cat written`, says: `needs a sandbox_path to write below(?s:.*)^s3cret$`},
	"unknown key": {script: `
		status 78 envexec --config unknown.hcl -- true
		envexec --lenient --config unknown.hcl -- true`, says: `unknown.hcl:1:1: .*listner.*did you mean "listener"`},
	"SIGHUP": {script: `
		envexec --from secret/db -- sh -c 'trap "echo the program heard; exit 0" HUP; kill -HUP $PPID; while :; do sleep 0.05; done'`, says: `the program heard`},
	"own token at the end": {script: `
		envexec --config login.hcl --from secret/db -- true
		envexec --config login.hcl --no-revoke --from secret/db -- true
		envexec --config sink.hcl --from secret/db -- true`, tokens: 2},

	// vault-env.
	"`VAULT_ENV_DELAY`": {script: `VAULT_ENV_DELAY=1h DB='vault:secret/db#password' envexec -- sh -c 'echo is $DB'`, says: `is s3cret`},
	"`VAULT_ENV_DAEMON=true`": {script: `
		VAULT_ENV_DAEMON=true DB='vault:secret/daemon#k' envexec --refresh 1s --quiet 10ms -- sh -c '
			echo got $DB; test $DB = new || { VAULT_TOKEN=$ROOT vault kv put secret/daemon k=new >&2; sleep 100; }'`, says: `got old(?s:.*)got new`},
	"`VAULT_ENV_PASSTHROUGH=A,B`": {script: `envexec --keep-env VAULT_TOKEN -- sh -c 'test -n "$VAULT_TOKEN"'; envexec -- sh -c 'test -z "$VAULT_TOKEN"'`},
	"`VAULT_TOKEN=vault:login`": {script: `
		VAULT_TOKEN=vault:login envexec --config login.hcl --from secret/db -- sh -c 'echo $password; vault token lookup'
		VAULT_TOKEN=vault:login ENVEXEC_PROGRAM_TOKEN=false envexec --config login.hcl -- sh -c 'echo "none:$VAULT_TOKEN"'`, says: `^s3cret$(?s:.*)^path +auth/approle/login$(?s:.*)^none:$`, tokens: 1},
	"`VAULT_REVOKE_TOKEN=false`": {script: `envexec --config login.hcl --no-revoke --from secret/db -- true`, tokens: 1},
	"`VAULT_JSON_LOG=true`":      {script: `envexec --log-format json --from secret/db -- true`, says: `^\{"time":`},

	// envconsul, vals, consul-template.
	"`-sanitize`":                       {script: `envexec --from secret/odd -- sh -c 'echo is $odd_key_x'`, says: `is sane`},
	"`-secret secret/db`":               {script: `envexec --from secret/db --prefix db_ -- sh -c 'echo is $db_password'`, says: `is s3cret`},
	"`-pristine`":                       {script: `LEFT=1 envexec --clear-env --from secret/db -- /bin/sh -c 'echo is "$LEFT$password"'`, says: `is s3cret`},
	"`ref+vault://secret/db#/password`": {script: `DB='vault:secret/db#password' TEXT='a ${vault:secret/db#password} b' envexec -- sh -c 'echo $DB $TEXT'`, says: `^s3cret a s3cret b$`},
	"`-exec COMMAND`":                   {script: `envexec --file out.conf=app.tpl -- sh -c 'echo is $(cat out.conf)'`, says: `is s3cret`},
	"`-dry`":                            {script: `envexec render --show-values --file out.conf=app.tpl`, says: `out.conf .*s3cret`},
	"`VAULT_UNWRAP_TOKEN`": {script: `
		VAULT_TOKEN=$WRAPPED; VAULT_TOKEN="$(vault unwrap -field=token)" envexec --from secret/db -- sh -c 'echo is $password'`, says: `is s3cret`, tokens: -1}, // the wrapping token is used up
}

// Each of these claims is seen on a real Vault; every line of the table for Vault Agent is among them.
func TestDocsMigrationEffects(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.PutKV2(t, "secret/daemon", map[string]any{"k": "old"})
	v.PutKV2(t, "secret/odd", map[string]any{"odd-key.x": "sane"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "reader")
	client := v.Client(t)
	client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	wrapped, err := client.Logical().Write("auth/token/create", map[string]any{"policies": []string{"reader"}})
	if err != nil {
		t.Fatal(err)
	}
	bin, err := vaulttest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	place(t, dir, "app.tpl", `{{ with secret "secret/db" }}{{ .Data.data.password }}{{ end }}`)
	place(t, dir, "role-id", role.ID)
	place(t, dir, "secret-id", role.SecretID)
	place(t, dir, "wrong", "00000000-0000-0000-0000-000000000000")
	login := func(secret, more, sink string) string {
		return "auto_auth {\n method \"approle\" {\n" + more + "\n config = {\n role_id_file_path = \"role-id\"\n secret_id_file_path = \"" + secret + "\"\n remove_secret_id_file_after_reading = false\n }\n }\n" + sink + "\n}\n"
	}
	env := func(path, key, more string) string {
		return "env_template \"TEXT\" {\n contents = \"{{ with secret \\\"" + path + "\\\" }}{{ .Data.data." + key + " }}{{ end }}\"\n" + more + "\n}\nexec { command = [\"sh\", \"-c\", \"echo text=[$TEXT]\"] }\n"
	}
	good := login("secret-id", "", "")
	for name, text := range map[string]string{
		"login.hcl":          good,
		"denied.hcl":         login("wrong", "", "") + env("secret/db", "password", ""),
		"denied-patient.hcl": login("wrong", "exit_on_err = false", "") + env("secret/db", "password", ""),
		"absent.hcl":         good + env("secret/absent", "password", ""),
		"absent-patient.hcl": good + "template_config { exit_on_retry_failure = false }\n" + env("secret/absent", "password", ""),
		"key.hcl":            good + env("secret/db", "nope", ""),
		"key-patient.hcl":    good + env("secret/db", "nope", "error_on_missing_key = false"),
		"write.hcl":          good + "template {\n destination = \"out\"\n #sandbox\n contents = \"{{ with secret \\\"secret/db\\\" }}{{ .Data.data.password | writeToFile \\\"written\\\" \\\"\\\" \\\"\\\" \\\"0600\\\" }}{{ end }}\"\n}\n",
		"unknown.hcl":        "listner \"tcp\" {}\n" + good,
		"sink.hcl":           login("secret-id", "", "sink \"file\" { config = { path = \"sink\" } }"),
		"both.hcl": good + "template {\n source = \"app.tpl\"\n destination = \"both.conf\"\n}\nlistener \"unix\" {\n address = \"both.sock\"\n tls_disable = true\n}\n" +
			strings.Replace(env("secret/db", "password", ""), "text=[$TEXT]", "both $TEXT $(cat both.conf)", 1),
	} {
		place(t, dir, name, text)
	}
	page := readFile(t, "docs/migration.md")
	agent, _, _ := strings.Cut(page, "## vault-env")
	for _, row := range submatches(agent, `(?m)^\| (.*?) \| .* \| .* \|$`) {
		if _, ok := effects[row]; !ok && row != "In the file" && !strings.HasPrefix(row, "---") {
			t.Errorf("no script shows %q", row)
		}
	}
	const status = "status() { want=$1; shift; got=0; \"$@\" || got=$?; test $got = $want || { echo \"$*: status $got, not $want\"; exit 1; }; }\n"
	for row, e := range effects {
		t.Run(strings.Trim(row, "`"), func(t *testing.T) {
			if !strings.Contains(page, "\n| "+row+" | ") {
				t.Fatal("the page has no such line")
			}
			before := len(v.Accessors(t))
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", status+e.script)
			cmd.Dir = dir
			cmd.Env = []string{
				"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "GORACE=atexit_sleep_ms=0",
				"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.RootToken, "ROOT=" + v.RootToken, "WRAPPED=" + wrapped.WrapInfo.Token,
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !regexp.MustCompile("(?m)"+e.says).Match(out) {
				t.Errorf("%v; wanted %q\n%s", err, e.says, out)
			}
			if left := len(v.Accessors(t)) - before; left != e.tokens {
				t.Errorf("%d tokens are left, want %d\n%s", left, e.tokens, out)
			}
		})
	}
}

// A given token is kept alive by itself, as -vault-renew-token wants it.
func TestDocsMigrationRenews(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	dir := t.TempDir()
	mark := v.Mark(t)
	cmd := exec.CommandContext(t.Context(), "envexec", "--from", "secret/db", "--", "sh", "-c", "while ! test -e renewed; do sleep 0.1; done")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.Token(t, map[string]any{"ttl": "5s"}, "reader"), "GORACE=atexit_sleep_ms=0"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	renewed := false
	for end := time.Now().Add(patience); !renewed && time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		for _, r := range v.AuditLog(t, mark) {
			renewed = renewed || r.Path == "auth/token/renew-self"
		}
	}
	place(t, dir, "renewed", "")
	if err := cmd.Wait(); err != nil || !renewed {
		t.Errorf("renewed: %v, %v", renewed, err)
	}
}
