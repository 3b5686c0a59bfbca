package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every key there is, of every stanza, means by --set and by ENVEXEC_SET what it means in
// a file. The table is the code's.
func TestSetReachesEveryKey(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("app.env", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	places := regexp.MustCompile(`(?m)(x\.hcl:[\d:]+|--set|ENVEXEC_SET)`)
	meaning := func(variable string, args ...string) string {
		var env []string
		if variable != "" {
			env = append(env, "ENVEXEC_SET="+variable)
		}
		c, err := Parse(append([]string{"check", "--offline"}, args...), parseEnv(env...))
		if c != nil {
			c.Login.Source = ""
		}
		return places.ReplaceAllString(describe(c, err), "PLACE")
	}
	tested := 0
	eachKey(func(path string, _ stanza, k key) {
		if k.why != "" || refused(k) {
			return
		}
		text := inSkeleton(path, k.name, strings.ReplaceAll(otherValue(k), "/etc/app/env", "app.env"))
		want := meaning("", "--config", write(t, text))
		if got := meaning("", "--set", text); got != want {
			t.Errorf("%s.%s by flag: %s\ngot  %s\nwant %s", path, k.name, text, got, want)
		}
		if got := meaning(strings.Join(strings.Fields(text), " ")); got != want {
			t.Errorf("%s.%s by variable: %s\ngot  %s\nwant %s", path, k.name, text, got, want)
		}
		tested++
	})
	if tested < 200 {
		t.Errorf("only %d keys", tested)
	}
}

// flag > variable > file for the keys that have no option of their own; the origin is told.
func TestSetPrecedence(t *testing.T) {
	c := defaults()
	have := map[any]bool{}
	for _, o := range options(c, &loginFlags{}) {
		have[o.to] = o.to != nil
	}
	tested := 0
	walkKeys(root(c), "", func(path string, k key) {
		// Those three are api_proxy's, shown there.
		if have[k.to] || strings.HasPrefix(path, "cache.") && slices.Contains([]string{"use_auto_auth_token", "enforce_consistency", "when_inconsistent"}, path[6:]) {
			return
		}
		name := path[strings.LastIndex(path, ".")+1:]
		dir := t.TempDir()
		stanzaPath := strings.TrimSuffix(strings.TrimSuffix(path, name), ".")
		file := dir + "/x.hcl"
		if err := os.WriteFile(file, []byte(inSkeleton(stanzaPath, name, otherValue(k))), 0o600); err != nil {
			t.Fatal(err)
		}
		setting := path + "=" + otherValue(k)
		for _, step := range []struct {
			want string
			args []string
			env  []string
		}{
			{"x.hcl:", nil, nil},
			{"ENVEXEC_SET", nil, []string{"ENVEXEC_SET=" + setting}},
			{"--set", []string{"--set", setting}, []string{"ENVEXEC_SET=" + setting}},
		} {
			c, err := Parse(append(append([]string{"check", "--offline", "--lenient", "--config", file}, step.args...), "--", "app"), parseEnv(step.env...))
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			i := slices.IndexFunc(c.Settings, func(s Setting) bool { return s.Key == path })
			if i < 0 || !strings.Contains(c.Settings[i].Origin, step.want) || !strings.HasPrefix(c.Settings[i].Flag, "--set ") {
				t.Errorf("%s %v %v: %+v", path, step.args, step.env, c.Settings[max(i, 0)])
			}
		}
		tested++
	})
	if tested < 50 {
		t.Errorf("only %d keys", tested)
	}
}

// What --set does not name stays as the file has it; its text is what it looks like.
func TestSet(t *testing.T) {
	files := map[string]string{"a.hcl": `stop { signal = "INT"
	timeout = "7s" }
auto_auth { method "cert" { mount_path = "auth/x" } sink "file" { config { path = "t" } } }
cache { static_secret_token_capability_refresh_behavior = "pessimistic"
	cache_static_secrets = true
	persist "file" { path = "p" key_file = "k" } }
listener "tcp" { tls_disable = true }
environment { files = [] }
exec { command = ["from", "file"] }`, "b.env": "B=1\n"}
	args := []string{"--config", "a.hcl", "--set", "stop.timeout=9s", "--set", "cache.persist.fallback = 3s", "--set", `cache { max_age = "1m" }`, "--set", "cache.share_logins=true",
		"--set", "auto_auth.method.max_backoff=10", "--set", "program.signal_map=TERM=QUIT", "--set", `program.map_exit=["143=0", "1=2"]`, "--set", "environment.files=b.env",
		"--set", `listener "unix" { address = "/s" tls_disable = true }`, "--set", "exec.restart_on_secret_changes=never"}
	c := mustParse(t, files, []string{"ENVEXEC_SET=stop.timeout=8s\nstop.grace=1s"}, args...)
	got := fmt.Sprintln(c.Stop.Signal, c.Stop.Timeout, c.Stop.Grace, c.Cache.CapabilityPessimistic, c.Cache.StaticSecrets, c.Cache.Persist.KeyFile, c.Cache.Persist.Fallback,
		c.Cache.MaxAge, c.Cache.ShareLogins, c.Login.MountPath, c.Login.MaxBackoff, len(c.Sinks), c.Program.SignalMap, c.Program.MapExit, c.Environment.Inherited.List(),
		len(c.Listeners), c.Program.Args, c.Change.Policy)
	if want := "INT 9s 1s true true k 3s 1m0s true auth/x 10s 1 [{TERM QUIT}] [{143 0} {1 2}] [B=1 "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " 2 [from file] none\n") {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"stop.timeot=1s":       `--set: stop.timeot: unknown key; did you mean "timeout"?`,
		"stop.timeout=soon":    "--set: stop.timeout: ",
		"nonsense":             "--set:1:10: syntax error",
		"stop { timeout =":     "--set:",
		"stop=5":               "--set: stop: must be a block",
		"pid_file=[":           "--set:",
		"pid_file=\"a\" b = 1": "--set: one value is wanted",
	} {
		if _, err := parse(t, nil, nil, "--set", text, "--", "app"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// An option made for a key goes before --set, the variable's --set after a flag.
	c = mustParse(t, nil, []string{"ENVEXEC_STOP_TIMEOUT=1s", "ENVEXEC_SET=stop.timeout=2s"}, "--", "app")
	if c.Stop.Timeout.String() != "1s" {
		t.Error(c.Stop.Timeout)
	}
	c = mustParse(t, nil, []string{"ENVEXEC_STOP_TIMEOUT=1s"}, "--set", "stop.timeout=2s", "--", "app")
	if c.Stop.Timeout.String() != "2s" {
		t.Error(c.Stop.Timeout)
	}
}
