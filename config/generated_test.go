package config

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/vaulttest"
)

var exhaustive = flag.Bool("exhaustive", false, "ask Vault about every generated file, not about a part of them")

// hosts are files Vault's agent or proxy accepts, with %s where a key of the stanza may stand.
var hosts = map[string][]string{
	"":                        {login + "%s\n"},
	"vault":                   {login + "vault {\n  %s\n}\n"},
	"vault.retry":             {login + "vault {\n  retry {\n    %s\n  }\n}\n"},
	"auto_auth":               {"auto_auth {\n  %s\n  method \"token_file\" { config { token_file_path = \"t\" } }\n  sink \"file\" { config { path = \"s\" } }\n}\n"},
	"auto_auth.method":        {"auto_auth {\n  method \"token_file\" {\n    %s\n    config { token_file_path = \"t\" }\n  }\n  sink \"file\" { config { path = \"s\" } }\n}\n"},
	"auto_auth.method.config": {"auto_auth {\n  method \"token_file\" {\n    config {\n      %s\n    }\n  }\n  sink \"file\" { config { path = \"s\" } }\n}\n"},
	"auto_auth.sink":          {"auto_auth {\n  method \"token_file\" { config { token_file_path = \"t\" } }\n  sink \"file\" {\n    %s\n    config { path = \"s\" }\n  }\n}\n"},
	"auto_auth.sink.config":   {"auto_auth {\n  method \"token_file\" { config { token_file_path = \"t\" } }\n  sink \"file\" {\n    config {\n      path = \"s\"\n      %s\n    }\n  }\n}\n"},
	"template_config":         {login + "template_config {\n  %s\n}\n"},
	"template":                {login + "template {\n  contents = \"c\"\n  destination = \"d\"\n  %s\n}\n"},
	"template.exec":           {login + "template {\n  contents = \"c\"\n  destination = \"d\"\n  exec {\n    %s\n  }\n}\n"},
	"env_template":            {login + "exec { command = [\"app\"] }\nenv_template \"NAME\" {\n  contents = \"c\"\n  %s\n}\n"},
	"exec":                    {login + "env_template \"NAME\" { contents = \"c\" }\nexec {\n  command = [\"app\"]\n  %s\n}\n"},
	"listener":                {login + "listener \"tcp\" {\n  tls_disable = true\n  address = \"127.0.0.1:1\"\n  %s\n}\n", "cache { }\nlistener \"unix\" {\n  tls_disable = true\n  address = \"s\"\n  %s\n}\n"},
	"listener.agent_api":      {"cache { }\nlistener \"tcp\" {\n  tls_disable = true\n  agent_api {\n    %s\n  }\n}\n"},
	"listener.proxy_api":      {"cache { }\nlistener \"tcp\" {\n  tls_disable = true\n  proxy_api {\n    %s\n  }\n}\n"},
	"api_proxy":               {login + "listener \"tcp\" { tls_disable = true }\napi_proxy {\n  %s\n}\n"},
	"cache":                   {login + "listener \"tcp\" { tls_disable = true }\ncache {\n  %s\n}\n"},
	"cache.persist":           {login + "listener \"tcp\" { tls_disable = true }\ncache {\n  persist \"kubernetes\" {\n    path = \"p\"\n    %s\n  }\n}\n"},
	"telemetry":               {login + "telemetry {\n  %s\n}\n"},
}

const login = "auto_auth {\n  method \"token_file\" { config { token_file_path = \"t\" } }\n  sink \"file\" { config { path = \"s\" } }\n}\n"

// shapes are values of every kind HCL and JSON know, right ones and wrong ones.
var shapes = []string{
	`"text"`, `""`, `"5"`, `"5s"`, `"0640"`, `"true"`, `"force"`, `"info"`, `"-1"`, `"2d"`, `"1:5s"`, `"SIGHUP"`, `"http://[::1]:1"`, `"${x}"`,
	`true`, `false`, `0`, `1`, `-1`, `5`, `0640`, `1.5`, `1e3`, `99999999999999999999`,
	`[]`, `["a"]`, `["a", "b"]`, `["auto-auth"]`, `[""]`, `[1]`, `[true]`, `[["a"]]`, `[{}]`, `[{ a = 1 }]`, `{}`, `{ a = "b" }`, `{ a = { b = 1 } }`,
	"<<E\ntext\nE",
}

// generated are files with one key in one shape: every documented key of Vault's, as
// attribute, as block and as labelled block, and once with a neighbour of another kind.
func generated() []string {
	set := map[string]bool{}
	add := func(path, line string) {
		for _, host := range hosts[path] {
			set[fmt.Sprintf(host, line)] = true
		}
	}
	each := func(path, name string) {
		for _, shape := range shapes {
			add(path, name+" = "+shape)
		}
		add(path, name+" { }")
		add(path, name+" \"label\" { }")
		add(path, name+" \"one\" \"two\" { a = 1 }")
		add(path, name+" { }\n"+name+" { }")
		add(path, strings.ToUpper(name)+" = \"5\"")
		add(path, fmt.Sprintf("%q = \"5\"", name))
	}
	walkKnown("", root(defaults()), each)
	for _, method := range slices.Sorted(maps.Keys(methodKeys())) {
		for _, k := range methodKeys()[method] {
			for _, shape := range shapes {
				set[fmt.Sprintf(strings.ReplaceAll(hosts["auto_auth.method.config"][0], "token_file", method), k.name+" = "+shape)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// walkKnown visits what Vault knows too, keys and blocks, by stanza.
func walkKnown(path string, s stanza, visit func(path, name string)) {
	if hosts[path] == nil {
		return
	}
	visit(path, "no_such_key")
	if s.label != nil && s.label.name != "" {
		visit(path, s.label.name)
	}
	for _, k := range s.keys {
		if !k.ours {
			visit(path, k.name)
		}
	}
	for _, b := range s.blocks {
		if b.ours {
			continue
		}
		visit(path, b.name)
		if b.why == "" {
			walkKnown(strings.TrimPrefix(path+"."+b.name, "."), b.open(), visit)
		}
	}
}

// Whatever is generated passes check --offline --lenient: what is wrong with a value is a
// doubt, for one of Vault's two readers may not look at it.
func TestLenientTakesEveryValue(t *testing.T) {
	for _, src := range generated() {
		c, err := lenient([]byte(src))
		if err != nil {
			t.Errorf("%v\n%s", err, src)
		}
		if strings.Contains(src, "no_such_key") && len(c.Warnings) == 0 {
			t.Errorf("no warning:\n%s", src)
		}
	}
}

// Every key of Vault's, with the value its page shows, is what Vault itself takes, and we
// take it without --lenient.
func TestExamplesAreVaults(t *testing.T) {
	vault := vaultBinary(t)
	var files []string
	var walk func(path string, s stanza)
	walk = func(path string, s stanza) {
		for _, k := range s.keys {
			for _, host := range hosts[path] {
				if !k.ours && k.why == "" && !refused(k) {
					files = append(files, fill(host, path, k.name, otherValue(k)))
				}
			}
		}
		for _, b := range s.blocks {
			if next := strings.TrimPrefix(path+"."+b.name, "."); !b.ours && b.why == "" && hosts[next] != nil {
				walk(next, b.open())
			}
		}
	}
	walk("", root(defaults()))
	if len(files) < 80 {
		t.Errorf("only %d examples", len(files))
	}
	inParallel(files, func(i int, src string) {
		if !accepted(t, vault, src) {
			t.Errorf("vault refuses:\n%s", src)
		}
		if _, err := parseBytes("x.hcl", []byte(src)); err != nil {
			t.Errorf("we refuse: %v\n%s", err, src)
		}
	})
}

// Of files cut, joined and sprinkled with other bytes, HCL and JSON, what Vault can read we
// can read. Only what we refuse is shown to Vault; without -exhaustive a part of it.
func TestReadsWhatVaultReads(t *testing.T) {
	vault := vaultBinary(t)
	rounds := 4_000
	if *exhaustive {
		rounds = 100_000
	}
	var refused []string
	for i := range rounds {
		src := mutated(rand.New(rand.NewPCG(uint64(i), 7)))
		if _, err := lenient([]byte(src)); err != nil {
			refused = append(refused, src)
		}
	}
	t.Logf("%d of %d refused", len(refused), rounds)
	if len(refused) < rounds/10 {
		t.Error("the mutations do no harm")
	}
	if most := 200; !*exhaustive && len(refused) > most {
		refused = refused[:most]
	}
	inParallel(refused, func(i int, src string) {
		if accepted(t, vault, src) {
			_, err := lenient([]byte(src))
			t.Errorf("vault accepts it, we say: %v\n%s", err, src)
		}
	})
}

var sprinkles = []string{"{", "}", "[", "]", "\"", "=", ",", ":", "\n", "\r\n", "\r", "#", "//", "/*", "*/", "<<E\n", "E\n", "<<-E\n", "-", ".", "0x", "1e", "\\", "\\u00e9", "\\n", "${", "}\"", "é", "\xef\xbb\xbf", "\xff", "\x00", "\t", "null", "true", "a", "1", "'", ";", "(", "\u2028"}

var jsonHost = `{"auto_auth": {"method": [{"token_file": {"config": {"token_file_path": "t"}}}], "sink": {"file": {"config": {"path": "s", "mode": 416}}}}, "vault": {"address": "http://127.0.0.1:8200"}, "template": [{"contents": "x", "destination": "d"}]}`

func mutated(r *rand.Rand) string {
	src := login + "vault {\n  address = \"http://127.0.0.1:8200\"\n}\ntemplate {\n  contents = <<EOT\nx\nEOT\n  destination = \"d\"\n}\n"
	if r.IntN(2) == 0 {
		src = jsonHost
	}
	for range 1 + r.IntN(2) {
		at := r.IntN(len(src) + 1)
		switch r.IntN(4) {
		case 0:
			end := min(len(src), at+1+r.IntN(6))
			src = src[:at] + src[end:]
		case 1:
			from := r.IntN(len(src))
			src = src[:at] + src[from:min(len(src), from+r.IntN(30))] + src[at:]
		default:
			src = src[:at] + sprinkles[r.IntN(len(sprinkles))] + src[at:]
		}
	}
	return src
}

func inParallel(list []string, do func(i int, src string)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, src := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i, src)
		})
	}
	wg.Wait()
}

// accepted reports whether vault agent or vault proxy takes the file.
func accepted(t *testing.T, vault, src string) bool {
	file := filepath.Join(t.TempDir(), "x.hcl")
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Error(err)
	}
	return verifies(vault, "agent", file) || verifies(vault, "proxy", file)
}

func vaultBinary(t *testing.T) string {
	t.Helper()
	vault, err := vaulttest.Binary()
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartVault, err.Error())
	}
	if vault, err = filepath.Abs(vault); err != nil {
		t.Fatal(err)
	}
	return vault
}

// lenient is what check --offline --lenient says of one file.
func lenient(src []byte) (*Config, error) {
	c, line := defaults(), commandLine{word: Check}
	c.Word, c.Check.Offline = Check, true
	d := newDecoder(environ.Environ{})
	d.lenient = true
	d.readFile(c, "x.hcl", src)
	fromFiles := *c
	finish(d, c, &fromFiles, options(c, &loginFlags{}), line)
	c.Warnings = d.warnings
	return c, d.err()
}
