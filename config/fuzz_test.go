package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/envexec/envexec/environ"
)

// Whatever the bytes: no panic, no more time than they are long, and every problem has a
// place.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if ext := filepath.Ext(file.Name); ext == ".hcl" || ext == ".json" {
				f.Add(file.Data)
			}
		}
	}
	f.Add([]byte("a = <<E"))
	f.Add([]byte("a = 0x\nb = 1e999\nc = 99999999999999999999\n\"\\q\" = \"${\""))
	f.Fuzz(func(t *testing.T, src []byte) {
		begin := time.Now()
		c, d := defaults(), newDecoder(environ.Environ{})
		d.readFile(c, "x", src)
		for _, p := range append(d.problems, d.warnings...) {
			if p.Pos.File != "x" || p.Message == "" {
				t.Fatalf("no place or no message: %#v", p)
			}
		}
		if took := time.Since(begin); took > 10*time.Second+time.Duration(len(src))*100*time.Microsecond {
			t.Fatalf("%d bytes took %s", len(src), took)
		}
	})
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\nexport B=\"x\\ny\" # c\nC='a\nb'\n")
	f.Add("A=\"")
	f.Fuzz(func(t *testing.T, text string) {
		e, places, err := readEnvFile("x", []byte(text))
		if err == nil && e.Len() > len(places) {
			t.Fatalf("%d variables, %d places", e.Len(), len(places))
		}
	})
}

func FuzzArgs(f *testing.F) {
	f.Add("--env\nA=kv/a#b\n--\napp", "VAULT_ADDR=http://a:1")
	f.Add("check\n--refresh\nkv/a=3s\n--on-change\nA=signal:HUP", "ENVEXEC_LISTEN=web=tcp://:80")
	f.Fuzz(func(t *testing.T, args, env string) {
		list := strings.Split(args, "\n")
		for _, a := range list { // read no files but our own
			if strings.Contains(a, "config") || strings.Contains(a, "env-file") {
				return
			}
		}
		if strings.Contains(env, "ENVEXEC_CONFIG") || strings.Contains(env, "ENVEXEC_ENV_FILE") {
			return
		}
		_, _ = Parse(list, environ.From(strings.Split(env, "\n")))
	})
}

// A file that nests too deep is refused before the recursive parser sees it.
func TestDeepNesting(t *testing.T) {
	for name, src := range map[string]string{
		"list": "a = " + strings.Repeat("[", 1_000_000), "object": strings.Repeat("a {", 500_000), "json": strings.Repeat(`{"a":`, 500_000),
	} {
		if _, err := parseBytes("x", []byte(src)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
