package envtemplate

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/envexec/envexec/secret"
)

// Whatever a variable holds: no panic, no value in an error, and text without
// references comes out as it went in.
func FuzzParseReferences(f *testing.F) {
	for _, seed := range []string{
		"vault:secret/data/db#password#3?x", "a${vault:b#c}d$${vault:e}", `vault:a\#b#c`, ">>vault:p#k#{\"a\":1}?d", "vault:v1:abc",
		"vault:a#${.b}", "${vault:a#${.b}}", "vault::", "${", "${vault:", "vault:?#", "${>>vault:a#b#{}}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		refs, err := ParseReferences(value)
		if err != nil {
			if len(value) > 12 && strings.Contains(err.Error(), value) {
				t.Errorf("error quotes the value: %v", err)
			}
			return
		}
		for _, ref := range refs.List() {
			if ref.cipher == "" && (ref.Request.Path == "" || ref.Key == "" && ref.Template == "") {
				t.Errorf("incomplete reference %+v", ref)
			}
		}
		if !strings.Contains(value, "vault:") && (refs.Any() || refs.literal() != value) {
			t.Errorf("plain text became %q", refs.literal())
		}
	})
}

// What parses is rewritten to something that still parses, with the same actions.
func FuzzRewrite(f *testing.F) {
	for _, seed := range []string{
		`{{ with secret "a" }}{{ .Data.x -}} {{ end }}`, "{{ `}}` }}{{ '}' }}{{ \"\\\"}}\" }}", `{{/* {{ x }} */}}{{ $a := 1 }}{{ $a }}`,
		`{{ define "x" }}{{ . }}{{ end }}{{ template "x" 1 }}`, "{{- 3 -}}", "{{ if and (secret \"a\") .x }}{{ .y }}{{ else if z }}{{ break }}{{ end }}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		src, err := newSource("f", text, "", "")
		if err != nil {
			if strings.Contains(err.Error(), "told apart") {
				t.Error(err)
			}
			return
		}
		again, err := newSource("f", src.text, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if len(again.prints) != len(src.prints) {
			t.Errorf("%d printing actions became %d", len(src.prints), len(again.prints))
		}
		if !reflect.DeepEqual(keysOf(src.requests), keysOf(again.requests)) {
			t.Error("other reads")
		}
	})
}

func keysOf(reqs []secret.Request) (keys []secret.Key) {
	for _, r := range reqs {
		keys = append(keys, r.Key())
	}
	return keys
}

// BenchmarkStart renders n units from n secrets once.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		f := newFake()
		var vars []Variable
		var templates []EnvTemplate
		for i := range n {
			path := fmt.Sprint("secret/data/s", i)
			f.kv(path, map[string]any{"k": "v"})
			vars = append(vars, Variable{Name: fmt.Sprint("V", i), Path: path, Key: "k"})
			templates = append(templates, EnvTemplate{Name: fmt.Sprint("V", i), Contents: `{{ with secret "` + path + `" }}{{ .Data.data.k }}{{ end }}`})
		}
		once := func(b *testing.B, cfg Config) {
			for b.Loop() {
				r, stop := launch(b, cfg)
				<-r.Generations()
				stop()
			}
		}
		b.Run(fmt.Sprintf("variables=%d", n), func(b *testing.B) { once(b, Config{Source: f, Variables: vars}) })
		b.Run(fmt.Sprintf("templates=%d", n), func(b *testing.B) { once(b, Config{Source: f, EnvTemplates: templates}) })
	}
}

// BenchmarkChange changes one secret of n.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 10000} {
		f := newFake()
		var templates []EnvTemplate
		for i := range n {
			path := fmt.Sprint("secret/data/s", i)
			f.kv(path, map[string]any{"k": "v"})
			templates = append(templates, EnvTemplate{Name: fmt.Sprint("V", i), Contents: `{{ with secret "` + path + `" }}{{ .Data.data.k }}{{ end }}`})
		}
		b.Run(fmt.Sprintf("templates=%d", n), func(b *testing.B) {
			r, stop := launch(b, Config{Source: f, EnvTemplates: templates})
			defer stop()
			<-r.Generations()
			i := 0
			for b.Loop() {
				i++
				f.kv("secret/data/s0", map[string]any{"k": fmt.Sprint(i)})
				<-r.Generations()
			}
		})
	}
}
