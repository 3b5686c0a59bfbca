package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envexec/envexec/environ"
)

func BenchmarkParseFlags(b *testing.B) {
	for b.Loop() {
		if _, err := Parse([]string{"--env", "A=kv/a#b", "--", "app"}, environ.Environ{}); err != nil {
			b.Fatal(err)
		}
	}
}

// manyTemplates is a file with n template stanzas.
func manyTemplates(n int) []byte {
	var s strings.Builder
	s.WriteString("auto_auth {\n  method \"cert\" { }\n}\n")
	for i := range n {
		fmt.Fprintf(&s, "template {\n  destination = \"/run/app/%d\"\n  perms = \"0640\"\n  contents = <<EOT\n{{ with secret \"secret/data/app/%d\" }}\npassword = \"{{ .Data.data.password }}\"\n{{ end }}\nEOT\n}\n", i, i)
	}
	return []byte(s.String())
}

func BenchmarkParse10000Templates(b *testing.B) {
	src := manyTemplates(10_000)
	for b.Loop() {
		if c, err := parseBytes("a.hcl", src); err != nil || len(c.Secrets.Templates) != 10_000 {
			b.Fatal(err)
		}
	}
}

// parseBytes decodes one file without touching the disk.
func parseBytes(name string, src []byte) (*Config, error) {
	c := defaults()
	d := newDecoder(environ.Environ{})
	d.readFile(c, name, src)
	return c, d.err()
}
