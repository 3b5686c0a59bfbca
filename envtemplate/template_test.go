package envtemplate

import (
	"bytes"
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// shelf is a Source with something of every kind.
func shelf() *fakeSource {
	f := newFake()
	f.kv("secret/data/app", map[string]any{
		"user": "admin", "password": "hunter2", "port": json.Number("5432"), "my-key": "dashed",
		"json": `{"a":"b"}`, "nil": nil, "multi": "line1\nline2\n", "list": []any{"x", "y"}, "b64": "aGVsbG8=",
	})
	f.set(&secret.Secret{Request: secret.Request{Path: "kv1/app"}, KV: 1, Data: map[string]any{"k": "one"}})
	f.set(&secret.Secret{Request: secret.Request{Path: "kv1/app", Version: 2}, KV: 1, Data: map[string]any{"k": "two"}})
	f.set(&secret.Secret{
		Request: secret.Request{Path: "database/creds/app"}, LeaseID: "lease-1", LeaseTTL: 3600e9, Renewable: true,
		Data: map[string]any{"username": "u1", "password": "p1"},
	})
	f.set(&secret.Secret{
		Request: secret.Request{Op: secret.List, Path: "secret/metadata"}, Data: map[string]any{"keys": []any{"b", "a", "c/"}},
	})
	f.set(&secret.Secret{
		Request: secret.Request{Op: secret.Write, Path: "transit/encrypt/k", Body: map[string]any{"plaintext": "aGk="}},
		Data:    map[string]any{"ciphertext": "vault:v1:xyz"},
	})
	f.refuse(secret.Request{Path: "secret/data/gone"}, secret.ErrMissing)
	f.refuse(secret.Request{Op: secret.List, Path: "secret/metadata/none"}, secret.ErrMissing)
	return f
}

// render is one env_template's text, or the error of New or Run.
func render(t *testing.T, f *fakeSource, tpl EnvTemplate, log *slog.Logger) (string, error) {
	t.Helper()
	tpl.Name = "V"
	r, err := New(Config{Source: f, EnvTemplates: []EnvTemplate{tpl}, Logger: log, Env: environ.From([]string{"HOME=/here", "EMPTY="})})
	if err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context()) }()
	select {
	case g := <-r.Generations():
		v, ok := g.Vars.Get("V")
		if !ok {
			t.Fatal("no variable")
		}
		return v, nil
	case err := <-done:
		return "", err
	}
}

func TestTemplates(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"with", `{{ with secret "secret/data/app" }}{{ .Data.data.user }}:{{ .Data.data.password }}{{ end }}`, "admin:hunter2"},
		{"trim markers", "a {{- with secret \"kv1/app\" }} {{ .Data.k -}} {{ end }} b", "a one b"},
		{"variable", `{{ $s := secret "kv1/app" }}{{ $s.Data.k }}`, "one"},
		{"parentheses", `{{ (secret "kv1/app").Data.k }}`, "one"},
		{"version", `{{ with secret "kv1/app?version=2" }}{{ .Data.k }}{{ end }}`, "two"},
		{"number", `{{ with secret "secret/data/app" }}{{ .Data.data.port }}{{ end }}`, "5432"},
		{"index", `{{ with secret "secret/data/app" }}{{ index .Data.data "my-key" }}{{ end }}`, "dashed"},
		{"multi-line", `{{ with secret "secret/data/app" }}{{ .Data.data.multi }}{{ end }}`, "line1\nline2\n"},
		{"range", `{{ range secrets "secret/metadata/" }}{{ . }},{{ end }}`, "a,b,c/,"},
		{"empty list", `{{ range secrets "secret/metadata/none" }}x{{ else }}none{{ end }}`, "none"},
		{"range keys", `{{ with secret "kv1/app" }}{{ range $k, $v := .Data }}{{ $k }}={{ $v }};{{ end }}{{ end }}`, "k=one;"},
		{"lease", `{{ with secret "database/creds/app" }}{{ .LeaseID }} {{ .LeaseDuration }} {{ .Renewable }} {{ .Data.username }}{{ end }}`, "lease-1 3600 true u1"},
		{"write", `{{ with secret "transit/encrypt/k" "plaintext=aGk=" }}{{ .Data.ciphertext }}{{ end }}`, "vault:v1:xyz"},
		{"nested reads", `{{ with secret "kv1/app" }}{{ with secret "secret/data/app" }}{{ .Data.data.user }}{{ end }}{{ end }}`, "admin"},
		{"dynamic path", `{{ range secrets "secret/metadata" }}{{ if eq . "a" }}{{ with secret (printf "kv1/%spp" .) }}{{ .Data.k }}{{ end }}{{ end }}{{ end }}`, "one"},
		{"branch not taken", `{{ if false }}{{ with secret "secret/data/gone" }}{{ .Data.x }}{{ end }}{{ else }}ok{{ end }}`, "ok"},
		{"and", `{{ if and false (secret "secret/data/gone") }}x{{ else }}ok{{ end }}`, "ok"},
		{"toJSON", `{{ with secret "secret/data/app" }}{{ .Data.data.list | toJSON }}{{ end }}`, `["x","y"]`},
		{"toUnescapedJSON", `{{ with secret "kv1/app" }}{{ .Data | toUnescapedJSON }}{{ end }}`, `{"k":"one"}`},
		{"toYAML", `{{ with secret "kv1/app" }}{{ .Data | toYAML }}{{ end }}`, "k: one"},
		{"parseJSON", `{{ with secret "secret/data/app" }}{{ with .Data.data.json | parseJSON }}{{ .a }}{{ end }}{{ end }}`, "b"},
		{"base64Decode", `{{ with secret "secret/data/app" }}{{ base64Decode .Data.data.b64 }}{{ end }}`, "hello"},
		{"mergeMap leaves the secret alone", `{{ with secret "kv1/app" }}{{ $x := mergeMap .Data (sprig_dict "z" "1") }}{{ end }}{{ with secret "secret/data/app" }}{{ .Data.data.user }}{{ end }}`, "admin"},
		{"define", `{{ define "x" }}[{{ . }}]{{ end }}{{ with secret "kv1/app" }}{{ template "x" .Data.k }}{{ executeTemplate "x" .Data.k }}{{ end }}`, "[one][one]"},
		{"scratch", `{{ scratch.Set "a" "b" }}{{ scratch.Get "a" }}`, "b"},
		{"env", `{{ env "HOME" }}{{ env "USER" }}{{ envOrDefault "EMPTY" "d" }}{{ envOrDefault "NO" "d" }}{{ mustEnv "HOME" }}`, "/hered/here"},
		{"sprig", `{{ "x" | sprig_upper }}`, "X"},
		{"math", `{{ add 1 2 }}{{ 3 | multiply 2 }}`, "36"},
		{"loop", `{{ range loop 3 }}{{ . }}{{ end }}`, "012"},
		{"strings", `{{ "a-b" | replaceAll "-" "_" | toUpper }}{{ "}}" }}{{ '"' }}` + "{{ `}}` }}", "A_B}}34}}"},
		{"comment", `a{{/* }} "  */}}b{{- /* x */ -}} c`, "abc"},
		{"sha", `{{ sha256Hex "x" }}`, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
		{"break", `{{ range loop 5 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}`, "01"},
		{"plain text", "no actions", "no actions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := render(t, shelf(), EnvTemplate{Contents: test.text}, nil)
				if err != nil || got != test.want {
					t.Errorf("got %q, %v, want %q", got, err, test.want)
				}
			})
		})
	}
}

func TestTemplateProblems(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"missing key", "\n{{ with secret \"secret/data/app\" }}{{ .Data.data.user }}{{ .Data.data.nope }}{{ end }}",
			`variable V: contents:2: secret/data/app has no key "nope", only: b64, json, list`},
		{"missing key, two secrets", `{{ with secret "kv1/app" }}{{ with secret "secret/data/app" }}{{ .Data.data.k }}{{ end }}{{ end }}`,
			`contents:1: secret/data/app has no key "k", only`},
		{"missing key by variable", `{{ $s := secret "kv1/app" }}{{ $s.Data.nope }}`, `kv1/app has no key "nope", only: k`},
		{"version 1 way of reading version 2", `{{ with secret "secret/data/app" }}{{ .Data.user }}{{ end }}`, "write .Data.data.user"},
		{"missing by index", `{{ with secret "kv1/app" }}{{ index .Data "a-b" }}{{ end }}`, `index .Data "a-b" is missing or null`},
		{"null", `{{ with secret "secret/data/app" }}{{ .Data.data.nil }}{{ end }}`, `.Data.data.nil is missing or null`},
		{"missing path", `{{ with secret "secret/data/gone" }}{{ .Data.data.x }}{{ end }}`, "secret/data/gone: secret is missing"},
		{"missing path, dynamic", `{{ with secret (printf "secret/data/%s" "gone") }}{{ .Data.data.x }}{{ end }}`, "contents:1: secret/data/gone: secret is missing"},
		{"syntax", "a\n{{ if }}", "contents:2: missing value for if"},
		{"unknown function", `{{ with secret "kv1/app" }}{{ nosuch .Data.k }}{{ end }}`, `function "nosuch" not defined`},
		{"consul", "\n{{ key \"a/b\" }}", "line 2: function key: Consul is not supported"},
		{"nomad", `{{ nomadVar "a" }}`, "function nomadVar: Nomad is not supported"},
		{"plugin", `{{ if false }}{{ plugin "rm" }}{{ end }}`, "function plugin: templates start no programs"},
		{"stdout", `{{ with secret "kv1/app" }}{{ spew_dump . }}{{ end }}`, "function spew_dump: it writes to standard output"},
		{"writeToFile without sandbox", `{{ "x" | writeToFile "/tmp/x" "" "" "0600" }}`, "function writeToFile: it needs a sandbox_path"},
		{"value in an engine's message", `{{ with secret "secret/data/app" }}{{ parseInt .Data.data.password }}{{ end }}`, "error calling parseInt: the engine's message is withheld"},
		{"value in a nested message", `{{ define "x" }}{{ parseInt . }}{{ end }}{{ with secret "secret/data/app" }}{{ executeTemplate "x" .Data.data.password }}{{ end }}`, "withheld"},
		{"range over a value", `{{ with secret "secret/data/app" }}{{ range .Data.data.password }}{{ end }}{{ end }}`, "withheld"},
		{"no field", `{{ with secret "secret/data/app" }}{{ .Nope }}{{ end }}`, "can't evaluate field Nope"},
		{"mustEnv", `{{ mustEnv "NO" }}`, "variable NO is not set"},
		{"bad field", `{{ secret "pki/issue/x" "hunter2" }}`, "field 1 is not k=v"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := render(t, shelf(), EnvTemplate{Contents: test.text}, nil)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("error %v, want %q", err, test.want)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error quotes a secret: %v", err)
				}
				if strings.HasPrefix(test.name, "missing") && !errors.Is(err, secret.ErrMissing) {
					t.Errorf("error is not ErrMissing: %v", err)
				}
			})
		})
	}
}

func TestAllowMissingKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		tpl := EnvTemplate{AllowMissingKey: true, Contents: `{{ with secret "kv1/app" }}[{{ .Data.nope }}][{{ index .Data "x" }}]{{ if .Data.y }}y{{ else }}n{{ end }}{{ end }}`}
		got, err := render(t, shelf(), tpl, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil || got != "[][]n" {
			t.Errorf("got %q, %v", got, err)
		}
		if !strings.Contains(said.String(), ".Data.nope is missing or null") {
			t.Errorf("no warning: %s", said.String())
		}
	})
}

func TestDelimitersAndDenylist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tpl := EnvTemplate{Contents: `{{ [[ with secret "kv1/app" ]][[ .Data.k ]][[ end ]] }}`, LeftDelim: "[[", RightDelim: "]]"}
		if got, err := render(t, shelf(), tpl, nil); err != nil || got != "{{ one }}" {
			t.Errorf("got %q, %v", got, err)
		}
		tpl = EnvTemplate{Contents: `{{ sprig_upper "x" }}`, FunctionDenylist: []string{"sprig_*"}}
		if _, err := render(t, shelf(), tpl, nil); err == nil || !strings.Contains(err.Error(), "function sprig_upper: it is on the function_denylist") {
			t.Errorf("error %v", err)
		}
	})
}

// Only templates that read what changed run again, each secret is asked for once.
func TestOnlyUsersRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := shelf()
		runs := map[string]int{}
		r, _ := start(t, Config{
			Source: f,
			EnvTemplates: []EnvTemplate{
				{Name: "A", Contents: `{{ with secret "kv1/app" }}{{ .Data.k }}{{ end }}`},
				{Name: "B", Contents: `{{ with secret "secret/data/app" }}{{ .Data.data.user }}{{ end }}`},
				{Name: "C", Contents: `{{ with secret "kv1/app" }}{{ if eq .Data.k "switch" }}{{ with secret "database/creds/app" }}{{ .Data.username }}{{ end }}{{ end }}{{ end }}`},
			},
			Trace: Trace{OnRender: func(name string, _ time.Duration) { runs[name]++ }},
		})
		next(t, r)
		f.set(&secret.Secret{Request: secret.Request{Path: "kv1/app"}, KV: 1, Data: map[string]any{"k": "switch"}})
		g := next(t, r)
		wantVars(t, g, map[string]string{"A": "switch", "B": "admin", "C": "u1"})
		if runs["variable A"] != 2 || runs["variable B"] != 1 || runs["variable C"] != 2 {
			t.Errorf("runs %v", runs)
		}
		f.set(&secret.Secret{Request: secret.Request{Path: "kv1/app"}, KV: 1, Data: map[string]any{"k": "back"}})
		wantVars(t, next(t, r), map[string]string{"A": "back", "B": "admin", "C": ""})
		db := secret.Request{Path: "database/creds/app"}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.released) != 1 || f.released[0] != db.Key() {
			t.Errorf("released %v", f.released)
		}
	})
}

// The engine's package logs through the standard logger nowhere on our road.
func TestEngineIsSilent(t *testing.T) {
	var said bytes.Buffer
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	TestTemplates(t)
	TestTemplateProblems(t)
	if said.Len() > 0 {
		t.Errorf("standard log: %s", said.String())
	}
}

func TestSandbox(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "in.txt")
	outside := filepath.Join(t.TempDir(), "out.txt")
	for path, text := range map[string]string{inside: "in", outside: "out"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Skip(err)
	}
	dest := filepath.Join(t.TempDir(), "dest")
	for path, want := range map[string]string{inside: "", outside: "not below the sandbox path", link: "escapes", filepath.Join(dir, "..", "x"): "not below"} {
		r, err := New(Config{Source: newFake(), Templates: []Template{{
			Contents: `{{ file "` + filepath.ToSlash(path) + `" }}`, Destination: dest, SandboxPath: dir,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(t.Context()) }()
		select {
		case <-r.Generations():
			if want != "" {
				t.Errorf("%s: no error", path)
			}
		case err := <-done:
			if want == "" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
