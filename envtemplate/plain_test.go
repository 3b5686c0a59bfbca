package envtemplate

import (
	"testing"

	"github.com/envexec/envexec/secret"
)

func TestPlainIsOnlyALookUp(t *testing.T) {
	for text, want := range map[string]bool{
		`{{ with secret "secret/data/a" }}{{ .Data.data.k }}{{ end }}`:             true,
		`{{- with secret "kv/a" -}}{{- .Data.k -}}{{- end -}}`:                     true,
		`{{ with secret "kv/a" }}{{ .Data.k }}{{ else }}x{{ end }}`:                false,
		`{{ with secret "kv/a" }}{{ .Data.k }} {{ end }}`:                          false,
		`x{{ with secret "kv/a" }}{{ .Data.k }}{{ end }}`:                          false,
		`{{ with secret "kv/a" "x=1" }}{{ .Data.k }}{{ end }}`:                     false,
		`{{ with secret "kv/a" }}{{ .Data.k | toUpper }}{{ end }}`:                 false,
		`{{ with secret "kv/a" }}{{ .LeaseID }}{{ end }}`:                          false,
		`{{ with $s := secret "kv/a" }}{{ $s.Data.k }}{{ end }}`:                   false,
		`{{ with secret "kv/a" }}{{ .Data.k }}{{ end }}{{ define "x" }}y{{ end }}`: false,
		`{{ with secrets "kv/a" }}{{ .Data.k }}{{ end }}`:                          false,
		`{{ with secret (env "P") }}{{ .Data.k }}{{ end }}`:                        false,
		`{{ if secret "kv/a" }}{{ .Data.k }}{{ end }}`:                             false,
	} {
		src, err := newSource("t", text, "", "")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := src.plain != nil; got != want {
			t.Errorf("%s: plain = %v, want %v", text, got, want)
		}
	}
}

func TestPlainLeavesTheRestToTheEngine(t *testing.T) {
	p := &plain{fields: []string{"data", "k"}}
	for name, c := range map[string]struct {
		data map[string]any
		err  error
		want string
		ok   bool
	}{
		"text":        {data: map[string]any{"data": map[string]any{"k": "v"}}, want: "v", ok: true},
		"empty text":  {data: map[string]any{"data": map[string]any{"k": ""}}, ok: true},
		"number":      {data: map[string]any{"data": map[string]any{"k": 1}}},
		"null":        {data: map[string]any{"data": map[string]any{"k": nil}}},
		"no key":      {data: map[string]any{"data": map[string]any{}}},
		"no envelope": {data: map[string]any{"k": "v"}},
		"error":       {err: secret.ErrMissing},
	} {
		get := func(secret.Request) (*secret.Secret, error) { return &secret.Secret{Data: c.data}, c.err }
		if got, ok := p.text(&templateWork{}, get); got != c.want || ok != c.ok {
			t.Errorf("%s: text = %q, %v; want %q, %v", name, got, ok, c.want, c.ok)
		}
	}
}
