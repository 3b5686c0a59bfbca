package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// skeletons are the smallest files in which a key of a stanza may stand; %s is its place.
var skeletons = map[string]string{
	"":                       "%s\n",
	"vault":                  "vault {\n  %s\n}\n",
	"vault.retry":            "vault {\n  retry {\n    %s\n  }\n}\n",
	"auto_auth":              "auto_auth {\n  %s\n  method \"cert\" { }\n}\n",
	"auto_auth.method":       "auto_auth {\n  method \"cert\" {\n    %s\n  }\n  sink \"file\" { config { path = \"t\" } }\n}\n",
	"auto_auth.sink":         "auto_auth {\n  method \"cert\" { }\n  sink \"file\" {\n    %s\n    config { path = \"t\" }\n  }\n}\n",
	"auto_auth.sink.config":  "auto_auth {\n  method \"cert\" { }\n  sink \"file\" { config {\n    path = \"t\"\n    %s\n  } }\n}\n",
	"template_config":        "template_config {\n  %s\n}\n",
	"template":               "template {\n  destination = \"d\"\n  contents = \"c\"\n  %s\n}\n",
	"template.exec":          "template {\n  destination = \"d\"\n  contents = \"c\"\n  exec {\n    %s\n  }\n}\n",
	"template.exec.env":      "template {\n  destination = \"d\"\n  contents = \"c\"\n  exec { env {\n    %s\n  } }\n}\n",
	"template.on_change":     "template {\n  destination = \"d\"\n  contents = \"c\"\n  on_change {\n    policy = \"signal\"\n    %s\n  }\n}\n",
	"env_template":           "env_template \"NAME\" {\n  contents = \"c\"\n  %s\n}\n",
	"env_template.on_change": "env_template \"NAME\" {\n  contents = \"c\"\n  on_change {\n    policy = \"signal\"\n    %s\n  }\n}\n",
	"exec":                   "exec {\n  command = [\"app\"]\n  %s\n}\n",
	"listener":               "listener \"tcp\" {\n  address = \"127.0.0.1:1\"\n  tls_disable = true\n  %s\n}\n",
	"listener.agent_api":     "listener \"tcp\" {\n  address = \"127.0.0.1:1\"\n  tls_disable = true\n  agent_api {\n    %s\n  }\n}\n",
	"listener.proxy_api":     "listener \"tcp\" {\n  address = \"127.0.0.1:1\"\n  tls_disable = true\n  proxy_api {\n    %s\n  }\n}\n",
	"api_proxy":              "auto_auth {\n  method \"cert\" { }\n}\nlistener \"tcp\" { tls_disable = true }\napi_proxy {\n  %s\n}\n",
	"cache":                  "auto_auth {\n  method \"cert\" { }\n}\nlistener \"tcp\" { tls_disable = true }\ncache {\n  %s\n}\n",
	"cache.persist":          "listener \"tcp\" { tls_disable = true }\ncache {\n  persist \"kubernetes\" {\n    path = \"p\"\n    %s\n  }\n}\n",
	"telemetry":              "telemetry {\n  %s\n}\n",
	"env":                    "env \"NAME\" {\n  secret = \"kv/a#b\"\n  %s\n}\n",
	"env.on_change":          "env \"NAME\" {\n  secret = \"kv/a#b\"\n  on_change {\n    policy = \"signal\"\n    %s\n  }\n}\n",
	"from":                   "from \"kv/a\" {\n  %s\n}\n",
	"from.on_change":         "from \"kv/a\" {\n  on_change {\n    policy = \"signal\"\n    %s\n  }\n}\n",
	"file":                   "file \"/f\" {\n  secret = \"kv/a#b\"\n  %s\n}\n",
	"file.on_change":         "file \"/f\" {\n  secret = \"kv/a#b\"\n  on_change {\n    policy = \"signal\"\n    %s\n  }\n}\n",
	"program":                "program {\n  %s\n}\n",
	"environment":            "environment {\n  %s\n}\n",
	"change":                 "change {\n  %s\n}\n",
	"restart":                "restart {\n  %s\n}\n",
	"stop":                   "stop {\n  %s\n}\n",
	"ready":                  "ready {\n  %s\n}\n",
	"listen":                 "listen \"web\" {\n  address = \"tcp://:80\"\n  %s\n}\n",
	"start":                  "start {\n  %s\n}\n",
	"secrets":                "secrets {\n  %s\n}\n",
}

// inSkeleton puts one key into its stanza's skeleton; what the skeleton already says of
// that key makes way.
func inSkeleton(path, name, value string) string { return fill(skeletons[path], path, name, value) }

func fill(skeleton, path, name, value string) string {
	place := skeleton
	for _, other := range []string{"contents = \"c\"", "destination = \"d\"", "command = [\"app\"]", "secret = \"kv/a#b\"", "policy = \"signal\"",
		"address = \"s\"", "path = \"s\"", "token_file_path = \"t\"", "address = \"127.0.0.1:1\"", "address = \"tcp://:80\"", "path = \"t\"", "path = \"p\"", "tls_disable = true"} {
		key, _, _ := strings.Cut(other, " ")
		replaces := key == name || key == "contents" && name == "source" || key == "secret" && (name == "source" || name == "value")
		if replaces {
			place = strings.Replace(place, other+"\n", "", 1)
		}
	}
	if !strings.Contains(place, "%s") {
		place = skeleton
	}
	extra := map[string]string{
		"auto_auth.sink dh_type": "dh_path = \"k\"", "auto_auth.sink dh_path": "dh_type = \"curve25519\"",
		"auto_auth.sink derive_key": "dh_type = \"curve25519\"\n    dh_path = \"k\"", "auto_auth.sink aad_env_var": "dh_type = \"curve25519\"\n    dh_path = \"k\"", "auto_auth.sink aad": "dh_type = \"curve25519\"\n    dh_path = \"k\"",
		"vault client_cert": "client_key = \"k\"", "vault client_key": "client_cert = \"c\"",
		"cache disable_caching_dynamic_secrets": "cache_static_secrets = true", "auto_auth.method max_backoff": "min_backoff = \"1s\"",
		"env.on_change policy": "signal = \"HUP\"", "ready header": "type = \"http\"\n  address = \"http://127.0.0.1:8080/\"", "listener tls_max_version": "tls_min_version = \"tls10\"",
	}[path+" "+name]
	line := name + " = " + value
	if extra != "" {
		line += "\n  " + extra
	}
	return fmt.Sprintf(place, line)
}

// eachKey visits every key of every stanza that may be written, with its path.
func eachKey(visit func(path string, s stanza, k key)) {
	var walk func(path string, s stanza)
	walk = func(path string, s stanza) {
		for _, k := range s.keys {
			visit(path, s, k)
		}
		for _, b := range s.blocks {
			if b.why == "" {
				walk(strings.TrimPrefix(path+"."+b.name, "."), b.open())
			}
		}
	}
	walk("", root(defaults()))
}

func refused(k key) bool { return k.doc == "" && k.read != nil }

// Every key has a golden case with another value than its default; -update adds those
// that are missing.
func TestEveryKeyHasItsCase(t *testing.T) {
	archives := map[string]*txtar.Archive{}
	eachKey(func(path string, s stanza, k key) {
		if k.why != "" || refused(k) {
			return
		}
		stanza, _, _ := strings.Cut(path, ".")
		if stanza == "" {
			stanza = "top"
		}
		file := filepath.Join("testdata", stanza+".txtar")
		a := archives[file]
		if a == nil {
			var err error
			if a, err = txtar.ParseFile(file); err != nil {
				a = &txtar.Archive{Comment: []byte("Each key of " + stanza + ", then its mistakes.\n\n")}
			}
			archives[file] = a
		}
		name := strings.TrimPrefix(strings.ReplaceAll(strings.TrimPrefix(path, stanza), ".", "-")+"-"+k.name, "-")
		if slices.Contains(caseNames(a), name) {
			return
		}
		if !*update {
			t.Errorf("%s has no case for %s.%s", file, path, k.name)
			return
		}
		a.Files = append(a.Files, txtar.File{Name: name + ".hcl", Data: []byte(inSkeleton(path, k.name, otherValue(k)))})
	})
	if *update {
		for file, a := range archives {
			if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// otherValue is the key's example, or a value that is not its default.
func otherValue(k key) string {
	if k.example != "" {
		return k.example
	}
	switch p := k.to.(type) {
	case *bool:
		return fmt.Sprint(!*p)
	case *string:
		if len(k.allow) > 1 {
			return fmt.Sprintf("%q", k.allow[1])
		}
		return map[string]string{"log_level": `"debug"`, "log_format": `"json"`, "address": `"http://127.0.0.1:8300"`, "left_delimiter": `"[["`, "metrics_prefix": `"app"`, "signal": `"USR1"`}[k.name]
	case *int, *int64:
		return "7"
	case *float64:
		return "0.75"
	case *uint32:
		return `"0640"`
	default:
		return `"7s"`
	}
}
