package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/environ"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse writes files ("name: content" pairs) into a directory and parses args in it.
func parse(t *testing.T, files map[string]string, env []string, args ...string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Parse(args, environ.From(env))
}

func mustParse(t *testing.T, files map[string]string, env []string, args ...string) *Config {
	t.Helper()
	c, err := parse(t, files, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const agentFile = `
pid_file = "/run/agent.pid"
vault { address = "http://127.0.0.1:8300" }
auto_auth {
  method "approle" {
    mount_path = "auth/approle/"
    config = {
      role_id_file_path = "role"
      secret_id_file_path = "secret"
      remove_secret_id_file_after_reading = false
    }
  }
  sink "file" { config = { path = "token" mode = 0600 } }
}
template_config { static_secret_render_interval = "10s" }
env_template "PW" {
  contents = "{{ with secret \"secret/data/db\" }}{{ .Data.data.password }}{{ end }}"
  error_on_missing_key = true
}
exec {
  command = ["env", "-0"]
  restart_on_secret_changes = "never"
  restart_stop_signal = "SIGINT"
}
`

func TestAgentFile(t *testing.T) {
	c := mustParse(t, map[string]string{"a.hcl": agentFile}, nil, "-config=a.hcl")
	if c.Vault.Address != "http://127.0.0.1:8300" || c.Login.Method != "approle" || c.Login.MountPath != "auth/approle" {
		t.Errorf("vault %+v, login %+v", c.Vault, c.Login)
	}
	if c.Login.Settings["remove_secret_id_file_after_reading"] != false || c.Login.Settings["role_id_file_path"] != "role" {
		t.Errorf("settings %v", c.Login.Settings)
	}
	if len(c.Sinks) != 1 || c.Sinks[0].Mode != 0o600 || c.Sinks[0].Path != "token" {
		t.Errorf("sinks %+v", c.Sinks)
	}
	if c.Secrets.Refresh != 10*time.Second || len(c.Secrets.EnvTemplates) != 1 || c.Secrets.EnvTemplates[0].Name != "PW" {
		t.Errorf("secrets %+v", c.Secrets)
	}
	if strings.Join(c.Program.Args, " ") != "env -0" || c.Change.Policy != "none" || c.Stop.Signal != "INT" {
		t.Errorf("program %+v change %+v stop %+v", c.Program, c.Change, c.Stop)
	}
}

func TestCommandLine(t *testing.T) {
	c := mustParse(t, nil, []string{"VAULT_ADDR=http://a:1", "ENVEXEC_STOP_TIMEOUT=3s", "VAULT_ROLE_ID=r", "VAULT_SECRET_ID_FILE=/s"},
		"--env", "PW=secret/db#password#3", "--from=secret/app", "--prefix", "X_", "--upcase", "--stop-timeout", "4", "--file", "/a=secret/tls#cert",
		"--on-change", "signal:HUP", "--on-change", "PW=none", "--listen", "web=tcp://:80", "--", "app", "--", "-x")
	if c.Vault.Address != "http://a:1" || c.Stop.Timeout != 4*time.Second || c.Change.Policy != "signal" || c.Change.Signal != "HUP" {
		t.Errorf("%+v %+v %+v", c.Vault, c.Stop, c.Change)
	}
	v := c.Secrets.Variables[0]
	if v.Name != "PW" || v.Path != "secret/db" || v.Key != "password" || v.Version != 3 || v.OnChange.Policy != "none" {
		t.Errorf("%+v", v)
	}
	if f := c.Secrets.From[0]; f.Prefix != "X_" || !f.Upcase {
		t.Errorf("%+v", f)
	}
	if strings.Join(c.Program.Args, "|") != "app|--|-x" {
		t.Errorf("%q", c.Program.Args)
	}
	if c.Login.Method != "approle" || c.Login.Settings["secret_id_file_path"] != "/s" {
		t.Errorf("%+v", c.Login)
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{}, "no program"},
		{[]string{"--"}, "no program after --"},
		{[]string{"myapp", "x"}, "did you mean `envexec -- myapp x`?"},
		{[]string{"chek"}, "did you mean `envexec check`"},
		{[]string{"--stop-timout", "3", "--", "x"}, "did you mean --stop-timeout?"},
		{[]string{"--stop-timeout"}, "needs a value"},
	} {
		_, err := parse(t, nil, nil, tc.args...)
		var u *UsageError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.args, err, tc.want)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := parse(t, map[string]string{"a.hcl": "vault {\n  adress = \"x\"\n  tls_skip_verify = \"maybe\"\n}\nexit_after_auth = \"yes\"\n"}, nil, "--config", "a.hcl", "--quiet", "x", "--", "app")
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 4 {
		t.Fatalf("%v", err)
	}
	if got := e.Problems[0].Error(); got != `a.hcl:2:3: vault.adress: unknown key; did you mean "address"?` {
		t.Error(got)
	}
}

func TestJSON(t *testing.T) {
	c := mustParse(t, map[string]string{"a.json": `{"vault":{"address":"http://h:1","retry":{"num_retries":3}},
"auto_auth":{"method":{"approle":{"config":{"role_id_file_path":"r"}}},"sink":[{"file":{"config":{"path":"a"}}},{"type":"file","config":{"path":"b"}}]},
"env_template":[{"A":{"contents":"a"}},{"B":{"contents":"b"}}],
"listener":{"tcp":{"address":"127.0.0.1:1","tls_disable":true}}}`}, nil, "--config", "a.json", "--", "x")
	if c.Login.Method != "approle" || len(c.Sinks) != 2 || len(c.Secrets.EnvTemplates) != 2 || len(c.Listeners) != 1 || c.Vault.NumRetries != 3 {
		t.Errorf("%+v %+v %+v", c.Login, c.Sinks, c.Listeners)
	}
}

func TestMoreFlags(t *testing.T) {
	c := mustParse(t, nil, nil, "--signal-map", "TERM=QUIT,INT=0", "--map-exit=143=0", "--map-exit", "1=2,3=4", "--subreaper=false", "--leave-orphans", "--stop-timeout", "7s", "--", "x")
	if len(c.Program.SignalMap) != 2 || len(c.Program.MapExit) != 3 || !c.Program.NoSubreaper || c.Program.NoReraise || !c.Stop.LeaveOrphans || c.Stop.TermTimeout != 7*time.Second {
		t.Errorf("%+v %+v", c.Program, c.Stop)
	}
	if c := mustParse(t, nil, nil, "--", "x"); c.Stop.TermTimeout != 0 || c.Program.NoSubreaper {
		t.Errorf("%+v %+v", c.Program, c.Stop)
	}
	if c := mustParse(t, nil, nil, "status", "--pid", "12"); c.Check.PID != 12 || c.Word != Status {
		t.Errorf("%+v", c.Check)
	}
}

func parseEnv(vars ...string) environ.Environ { return environ.From(vars) }
