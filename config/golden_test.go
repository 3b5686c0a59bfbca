package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

var update = flag.Bool("update", false, "write the golden files and the reference page anew")

// An archive in testdata holds cases. A case is NAME.hcl or NAME.json with NAME.want: what
// in the Config differs from the defaults, then warnings; or the problems. NAME.args adds
// arguments, NAME.env variables.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no archives", err)
	}
	for i := range paths {
		if paths[i], err = filepath.Abs(paths[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := false
			for _, name := range caseNames(archive) {
				t.Run(name, func(t *testing.T) {
					got := runCase(t, archive, name)
					if want := member(archive, name+".want"); got != want {
						if !*update {
							t.Errorf("got:\n%s\nwant:\n%s", got, want)
						}
						setMember(archive, name+".want", got)
						changed = true
					}
				})
			}
			if changed && *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestEachMethodHasItsMistakes: for each login method there are cases with nothing in its
// config and with a wrong value for each key of it.
func TestEachMethodHasItsMistakes(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/methods.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for method, keys := range methodKeys() {
		missing, wrong := member(archive, "missing-"+method+".want"), member(archive, "wrong-"+method+".want")
		if missing == "" || wrong == "" {
			t.Errorf("no cases missing-%s and wrong-%s", method, method)
		}
		for _, k := range keys {
			at := "auto_auth.method.config." + k.name + ": "
			if said := strings.Contains(missing, at+"missing: method "+method+" needs it"); said != k.required {
				t.Errorf("missing-%s: %s is required %v, said %v", method, k.name, k.required, said)
			}
			if !strings.Contains(wrong, at+"must be ") && !strings.Contains(wrong, at+`"soon" is not one of`) {
				t.Errorf("wrong-%s: nothing about %s", method, k.name)
			}
		}
	}
}

func caseNames(a *txtar.Archive) []string {
	var names []string
	for _, f := range a.Files {
		if name, ext, _ := strings.Cut(f.Name, "."); (ext == "hcl" || ext == "json") && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

func member(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// setMember replaces a member, or puts a new .want behind its case.
func setMember(a *txtar.Archive, name, text string) {
	after := len(a.Files)
	for i, f := range a.Files {
		if f.Name == name {
			a.Files[i].Data = []byte(text)
			return
		}
		if strings.HasPrefix(f.Name, strings.TrimSuffix(name, "want")) {
			after = i + 1
		}
	}
	a.Files = slices.Insert(a.Files, after, txtar.File{Name: name, Data: []byte(text)})
}

func runCase(t *testing.T, a *txtar.Archive, name string) string {
	t.Chdir(t.TempDir())
	for _, f := range a.Files {
		if !strings.HasPrefix(f.Name, name+".") && !strings.HasPrefix(f.Name, name+"/") {
			continue
		}
		if dir, _, ok := strings.Cut(f.Name, "/"); ok && dir == name {
			if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := name + ".hcl"
	if member(a, file) == "" && member(a, name+".json") != "" {
		file = name + ".json"
	}
	args := []string{"check", "--config", file}
	args = append(args, splitLines(member(a, name+".args"))...)
	c, err := Parse(args, environ.From(splitLines(member(a, name+".env"))))
	return describe(c, err)
}

// describe prints a problem a line, or the fields that differ from the defaults.
func describe(c *Config, err error) string {
	var b strings.Builder
	var e *Error
	switch {
	case errors.As(err, &e):
		for _, p := range e.Problems {
			fmt.Fprintf(&b, "error: %s\n", p.Error())
		}
		return b.String()
	case err != nil:
		return "usage: " + err.Error() + "\n"
	}
	warnings := c.Warnings
	c.WorkDir = ""
	c.Word, c.Files, c.Settings, c.Warnings, c.Environment.Strip, c.Environment.Inherited = "", nil, nil, nil, nil, environ.Environ{}
	if len(c.Words) == 0 {
		c.Words = nil
	}
	diff(&b, "", reflect.ValueOf(*c), reflect.ValueOf(*defaults()))
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w.Error())
	}
	return b.String()
}

func diff(b *strings.Builder, path string, v, def reflect.Value) {
	switch v.Interface().(type) {
	case Position, secret.Text, environ.Environ:
		return
	case time.Duration:
		if v.Int() != def.Int() {
			fmt.Fprintf(b, "%s = %s\n", path, formatDuration(time.Duration(v.Int())))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				diff(b, strings.TrimPrefix(path+"."+f.Name, "."), v.Field(i), def.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			if !reflect.DeepEqual(v.Interface(), def.Interface()) {
				fmt.Fprintf(b, "%s = %q\n", path, v.Interface())
			}
			return
		}
		for i := range v.Len() {
			diff(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i), elementDefault(v.Type().Elem()))
		}
	default:
		if !reflect.DeepEqual(v.Interface(), def.Interface()) {
			fmt.Fprintf(b, "%s = %#v\n", path, v.Interface())
		}
	}
}

func elementDefault(t reflect.Type) reflect.Value {
	for _, def := range []any{defaultTemplate(), defaultListener(), defaultSink(), Variable{Delivery: "value"}, From{Delivery: "value"}, RenderFile{Mode: 0o600}, defaultEnvTemplate()} {
		if reflect.TypeOf(def) == t {
			return reflect.ValueOf(def)
		}
	}
	return reflect.Zero(t)
}
