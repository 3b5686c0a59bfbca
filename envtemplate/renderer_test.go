package envtemplate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// next returns the Generation that is there once everything rests.
func next(t *testing.T, r *Renderer) Generation {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-r.Generations():
		return g
	default:
		t.Fatal("no generation")
		return Generation{}
	}
}

func none(t *testing.T, r *Renderer) {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-r.Generations():
		t.Fatalf("unexpected generation %d, epoch %d, changed %v", g.ID, g.Epoch, g.Changed)
	default:
	}
}

func wantVars(t *testing.T, g Generation, want map[string]string) {
	t.Helper()
	if got := environ.FromMap(want); !slices.Equal(g.Vars.List(), got.List()) {
		t.Fatalf("variables\n got %q\nwant %q", g.Vars.List(), got.List())
	}
}

// TestOneSecretTwice: a URL of two keys of one secret, which nothing else has asked for.
func TestOneSecretTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r, _ := start(t, Config{Source: f, Variables: []Variable{{Name: "URL", Text: "${vault:secret/a#u}:${vault:secret/a#p}"}}})
		none(t, r)
		f.kv("secret/a", map[string]any{"u": "me", "p": "1"})
		wantVars(t, next(t, r), map[string]string{"URL": "me:1"})
		f.kv("secret/a", map[string]any{"u": "me", "p": "2"})
		wantVars(t, next(t, r), map[string]string{"URL": "me:2"})
	})
}

func TestVariablesAndChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("secret/a", map[string]any{"x": "1", "n": json.Number("1000000"), "b": true, "o": map[string]any{"k": "<v>"}, "nil": nil})
		r, _ := start(t, Config{Source: f, Variables: []Variable{
			{Name: "X", Path: "secret/a", Key: "x"},
			{Name: "N", Text: "vault:secret/a#n"},
			{Name: "B", Text: "is ${vault:secret/a#b}, $${vault:x}"},
			{Name: "O", Path: "/secret/a/", Key: "o"},
			{Name: "LATE", Path: "secret/b", Key: "y"},
			{Name: "GONE", Text: "vault:secret/a#nil?"},
		}})
		none(t, r)
		f.kv("secret/b", map[string]any{"y": "late"})
		g := next(t, r)
		want := map[string]string{"X": "1", "N": "1000000", "B": "is true, ${vault:x}", "O": `{"k":"<v>"}`, "LATE": "late"}
		wantVars(t, g, want)
		if g.ID != 1 || g.Epoch != 1 {
			t.Errorf("id %d, epoch %d", g.ID, g.Epoch)
		}
		none(t, r)
		f.kv("secret/b", map[string]any{"y": "late"}) // equal
		none(t, r)
		f.kv("secret/b", map[string]any{"y": "later"})
		g = next(t, r)
		if !slices.Equal(g.Changed, []string{"LATE"}) || g.ID != 2 {
			t.Errorf("changed %v, id %d", g.Changed, g.ID)
		}
		f.login(2)
		g = next(t, r)
		if g.ID != 2 || g.Epoch != 2 || len(g.Changed) != 0 {
			t.Errorf("after a login: id %d, epoch %d, changed %v", g.ID, g.Epoch, g.Changed)
		}
	})
}

func TestUnreadGenerationKeepsItsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "1"})
		f.kv("b", map[string]any{"k": "1"})
		r, _ := start(t, Config{Source: f, Variables: []Variable{{Name: "A", Path: "a", Key: "k"}, {Name: "B", Path: "b", Key: "k"}}})
		next(t, r)
		f.kv("a", map[string]any{"k": "2"})
		synctest.Wait()
		f.kv("b", map[string]any{"k": "2"})
		g := next(t, r)
		if g.ID != 3 || !slices.Equal(g.Changed, []string{"A", "B"}) {
			t.Errorf("id %d, changed %v", g.ID, g.Changed)
		}
	})
}

func TestStartEndsWithAllProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "hunter2", "other": "x"})
		f.refuse(secret.Request{Path: "gone"}, secret.ErrMissing)
		f.refuse(secret.Request{Path: "closed"}, secret.ErrForbidden)
		r, err := New(Config{Source: f, Variables: []Variable{
			{Name: "OK", Path: "a", Key: "k"}, {Name: "KEY", Path: "a", Key: "typo"},
			{Name: "GONE", Path: "gone", Key: "k"}, {Name: "CLOSED", Path: "closed", Key: "k"},
			{Name: "SLOW", Path: "slow", Key: "k"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Run(t.Context())
		if !errors.Is(err, secret.ErrMissing) || !errors.Is(err, secret.ErrForbidden) {
			t.Fatalf("error %v", err)
		}
		for _, part := range []string{"variable GONE: gone", "variable CLOSED", `variable KEY: a has no key "typo", only: k, other`} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error lacks %q: %v", part, err)
			}
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "SLOW") {
			t.Errorf("error says too much: %v", err)
		}
	})
}

func TestLaterProblemsKeepTheLastValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "1", "l": "1"})
		var failed []string
		r, stop := start(t, Config{
			Source:    f,
			Variables: []Variable{{Name: "K", Path: "a", Key: "k"}, {Name: "L", Path: "a", Key: "l"}},
			Trace:     Trace{OnError: func(name string, _ error) { failed = append(failed, name) }},
		})
		next(t, r)
		f.kv("a", map[string]any{"k": "2"})
		wantVars(t, next(t, r), map[string]string{"K": "2", "L": "1"})
		time.Sleep(10 * time.Minute)
		none(t, r)
		if len(failed) < 3 || len(failed) > 20 || failed[0] != "variable L" {
			t.Errorf("failures %v", failed)
		}
		f.kv("a", map[string]any{"k": "2", "l": "3"})
		wantVars(t, next(t, r), map[string]string{"K": "2", "L": "3"})
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A lease's parts are never mixed: while one reader of it fails, the others stay with the old.
func TestLeasesAreNeverMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		lease := func(id string, epoch uint64, data map[string]any) {
			f.set(&secret.Secret{Request: secret.Request{Path: "db/creds/app"}, LeaseID: id, Data: data, Epoch: epoch})
		}
		lease("one", 1, map[string]any{"username": "u1", "password": "p1"})
		r, _ := start(t, Config{Source: f, Variables: []Variable{
			{Name: "U", Path: "db/creds/app", Key: "username"}, {Name: "P", Path: "db/creds/app", Key: "password"},
		}})
		wantVars(t, next(t, r), map[string]string{"U": "u1", "P": "p1"})
		f.login(2)
		lease("two", 2, map[string]any{"username": "u2"})
		none(t, r) // the old lease is still in use, so the old login is
		lease("three", 2, map[string]any{"username": "u3", "password": "p3"})
		g := next(t, r)
		wantVars(t, g, map[string]string{"U": "u3", "P": "p3"})
		if g.Epoch != 2 || !slices.Equal(g.Leases, []string{"three"}) || !g.NotAfter.IsZero() {
			t.Errorf("epoch %d, leases %q, certificates until %v", g.Epoch, g.Leases, g.NotAfter)
		}
	})
}

func TestFrom(t *testing.T) {
	for _, test := range []struct {
		name string
		from []From
		vars []Variable
		data map[string]any
		want map[string]string
		err  string
	}{
		{name: "all", from: []From{{Path: "a"}}, data: map[string]any{"user": "u", "my-key": "v", "1st": "f", "none": nil},
			want: map[string]string{"user": "u", "my_key": "v", "_1st": "f"}},
		{name: "prefix and upcase", from: []From{{Path: "a", Prefix: "db_", Upcase: true}}, data: map[string]any{"user": "u"},
			want: map[string]string{"DB_USER": "u"}},
		{name: "subset", from: []From{{Path: "a", Keys: []string{"x"}}}, data: map[string]any{"x": "1", "y": "2"},
			want: map[string]string{"x": "1"}},
		{name: "subset lacks", from: []From{{Path: "a", Keys: []string{"z"}}}, data: map[string]any{"x": "1"},
			err: `a has no key "z"`},
		{name: "dangerous names stay out", from: []From{{Path: "a"}}, data: map[string]any{"PATH": "/evil", "LD_PRELOAD": "x", "ok": "1"},
			want: map[string]string{"ok": "1"}},
		{name: "unless named", from: []From{{Path: "a"}}, vars: []Variable{{Name: "PATH", Path: "a", Key: "PATH"}}, data: map[string]any{"PATH": "/mine"},
			want: map[string]string{"PATH": "/mine"}},
		{name: "two keys, one name", from: []From{{Path: "a"}}, data: map[string]any{"a-b": "1", "a.b": "2"},
			err: `keys "a-b" and "a.b" both become variable a_b`},
		{name: "two sources, one name", from: []From{{Path: "a"}}, vars: []Variable{{Name: "x", Path: "a", Key: "y"}}, data: map[string]any{"x": "1", "y": "2"},
			err: "variable x is set by both variable x and all keys of a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.kv("a", test.data)
				cfg := Config{Source: f, From: test.from, Variables: test.vars}
				if test.err != "" {
					r, err := New(cfg)
					if err == nil {
						err = r.Run(t.Context())
					}
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Fatalf("error %v", err)
					}
					return
				}
				r, _ := start(t, cfg)
				wantVars(t, next(t, r), test.want)
			})
		})
	}
}

func TestDuplicatesAreFoundAtOnce(t *testing.T) {
	_, err := New(Config{Source: newFake(), Variables: []Variable{{Name: "A", Path: "a", Key: "k"}, {Name: "A", Text: "vault:b#k"}, {Name: "B", Text: "vault:x"}}})
	if err == nil || !strings.Contains(err.Error(), "variable A is set by both") || !strings.Contains(err.Error(), "variable B: no #key") {
		t.Fatal(err)
	}
}

func TestOneReadForManyVariables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		data := map[string]any{}
		var vars []Variable
		for i := range 1000 {
			key := fmt.Sprint("k", i)
			data[key] = key
			vars = append(vars, Variable{Name: fmt.Sprint("V", i), Path: "a", Key: key})
		}
		req := secret.Request{Path: "a"}
		r, _ := start(t, Config{Source: f, Variables: vars})
		synctest.Wait()
		if f.asked(req) != 1 {
			t.Errorf("%d reads", f.asked(req))
		}
		f.kv("a", data)
		if g := next(t, r); g.Vars.Len() != 1000 {
			t.Errorf("%d variables", g.Vars.Len())
		}
	})
}

func TestIgnoreMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.refuse(secret.Request{Path: "gone"}, secret.ErrMissing)
		r, _ := start(t, Config{Source: f, IgnoreMissing: true, Variables: []Variable{{Name: "A", Path: "gone", Key: "k"}}})
		wantVars(t, next(t, r), map[string]string{"A": ""})
		f.kv("gone", map[string]any{"k": "here"})
		wantVars(t, next(t, r), map[string]string{"A": "here"})
	})
}

func TestOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "v"})
		f.refuse(secret.Request{Path: "gone"}, secret.ErrMissing)
		r, _ := start(t, Config{Source: f, Variables: []Variable{
			{Name: "NO", Text: "vault:gone#k?"},
			{Name: "DEF", Text: "vault:gone#k?a#b=c"},
			{Name: "KEYDEF", Text: "vault:a#nokey#?"[:len("vault:a#nokey")] + "?d"},
			{Name: "IN", Text: "x${vault:gone#k?}y${vault:a#k?no}"},
		}})
		wantVars(t, next(t, r), map[string]string{"DEF": "a#b=c", "KEYDEF": "d", "IN": "xyv"})
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.refuse(secret.Request{Path: "closed"}, secret.ErrForbidden)
		r, err := New(Config{Source: f, Variables: []Variable{{Name: "A", Text: "vault:closed#k?d"}}})
		if err != nil {
			t.Fatal(err)
		}
		if err = r.Run(t.Context()); !errors.Is(err, secret.ErrForbidden) {
			t.Errorf("forbidden is not absent: %v", err)
		}
	})
}

func TestTemplateInTheKeysPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"user": "u", "pass": "p"})
		r, _ := start(t, Config{Source: f, Variables: []Variable{
			{Name: "A", Text: "vault:a#${.user}:${.pass | toUpper}"},
			{Name: "B", Text: "pg://${vault:a#${.user}}@h"},
		}})
		wantVars(t, next(t, r), map[string]string{"A": "u:P", "B": "pg://u@h"})
		r, err := New(Config{Source: f, Variables: []Variable{{Name: "A", Text: "vault:a#${.nope}"}}})
		if err != nil {
			t.Fatal(err)
		}
		if err = r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `a has no key "nope", only: pass, user`) {
			t.Errorf("error %v", err)
		}
		_, err = New(Config{Source: f, Variables: []Variable{{Name: "A", Text: "vault:hunter2#${if}"}}})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	})
}

func TestTransit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		input := func(texts ...string) map[string]any {
			var list []any
			for _, text := range texts {
				list = append(list, map[string]any{"ciphertext": text})
			}
			return map[string]any{"batch_input": list, "partial_failure_response_code": 200}
		}
		f.set(&secret.Secret{
			Request: secret.Request{Op: secret.Write, Path: "transit/decrypt/k", Body: input("vault:v1:one", "vault:v1:two")},
			Data: map[string]any{"batch_results": []any{
				map[string]any{"plaintext": "b25l"}, map[string]any{"plaintext": "dHdv"},
			}},
		})
		vars := []Variable{
			{Name: "A", Text: "vault:v1:one"}, {Name: "B", Text: "x${vault:v1:two}y"}, {Name: "C", Text: "vault:v1:one"},
		}
		r, _ := start(t, Config{Source: f, Variables: vars, Transit: Transit{Key: "k"}})
		wantVars(t, next(t, r), map[string]string{"A": "one", "B": "xtwoy", "C": "one"})
		if f.asked() != 1 {
			t.Errorf("%d requests", f.asked())
		}
		if _, err := New(Config{Source: f, Variables: vars}); err == nil || !strings.Contains(err.Error(), "no key is named") {
			t.Errorf("error %v", err)
		}
	})
}

func TestPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.refuse(secret.Request{Path: "a"}, secret.ErrForbidden)
		r, _ := start(t, Config{Source: f, Patient: true, Variables: []Variable{{Name: "A", Path: "a", Key: "k"}}})
		time.Sleep(time.Hour)
		none(t, r)
		f.kv("a", map[string]any{"k": "v"})
		wantVars(t, next(t, r), map[string]string{"A": "v"})
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{Source: newFake(), Variables: []Variable{{Name: "A", Path: "never", Key: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestParseReferences(t *testing.T) {
	read := func(path, key string, version int) Reference {
		return Reference{Request: secret.Request{Path: path, Version: version}, Key: key}
	}
	opt := func(r Reference, def string) Reference {
		r.Optional, r.Default, r.HasDefault = true, def, def != ""
		return r
	}
	for value, want := range map[string][]Reference{
		"":                               nil,
		"plain":                          nil,
		"vault::1.15":                    nil,
		"$${vault:a#b}":                  nil,
		"${HOME}":                        nil,
		"vault:secret/data/db#password":  {read("secret/data/db", "password", 0)},
		"vault:/secret/db/#pass#3":       {read("secret/db", "pass", 3)},
		"vault:secret/db?version=2#pass": {read("secret/db", "pass", 2)},
		`vault:a\#b#c\#d\?`:              {read("a#b", "c#d?", 0)},
		"vault:a#b?":                     {opt(read("a", "b", 0), "")},
		"vault:a#b#2?def#x?y":            {opt(read("a", "b", 2), "def#x?y")},
		"u:${vault:a#u}@${vault:a#h#2}/": {read("a", "u", 0), read("a", "h", 2)},
		`${vault:a#b?x\}y}`:              {opt(read("a", "b", 0), "x}y")},
		`${vault:a#b\}}`:                 {read("a", "b}", 0)},
		"vault:v1:abc/def=":              {{cipher: "vault:v1:abc/def="}},
		"x${vault:v2:abc=}":              {{cipher: "vault:v2:abc="}},
		"vault:a#${.user}:${.pass}":      {{Request: secret.Request{Path: "a"}, Template: "${.user}:${.pass}"}},
		"${vault:a#${.user}}@h":          {{Request: secret.Request{Path: "a"}, Template: "${.user}"}},
		`>>vault:pki/issue/x#cert#{"cn":"a}b"}`: {{
			Request: secret.Request{Op: secret.Write, Path: "pki/issue/x", Body: map[string]any{"cn": "a}b"}}, Key: "cert"}},
		`${>>vault:pki/issue/x#cert#{"n":1}}!`: {{
			Request: secret.Request{Op: secret.Write, Path: "pki/issue/x", Body: map[string]any{"n": json.Number("1")}}, Key: "cert"}},
	} {
		refs, err := ParseReferences(value)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if got := refs.List(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", value, got, want)
		}
	}
	for _, value := range []string{
		"vault:hunter2", "vault:#k", "vault:a#", "vault:a#k#hunter2", "vault:a#k#-1", "x ${vault:a#k", "${vault:hunter2}",
		">>vault:a#k#hunter2", `>>vault:a#k#{"a":1}hunter2`, ">>vault:a#k#null", "vault:a?%zz#k", "vault:a#${.hunter2",
	} {
		_, err := ParseReferences(value)
		if err == nil {
			t.Errorf("%s: no error", value)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error quotes the value: %v", value, err)
		}
	}
}

func TestFromEnviron(t *testing.T) {
	vars, err := FromEnviron(environ.From([]string{"A=vault:a#b", "B=plain", "C=x${vault:c#d}", "D=vault::x", "E=$${vault:x}"}))
	if err != nil || len(vars) != 4 {
		t.Fatalf("%v, %v", vars, err)
	}
	_, err = FromEnviron(environ.From([]string{"PASS=vault:hunter2", "OTHER=${vault:a#b"}))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "variable PASS: ") || !strings.Contains(err.Error(), "variable OTHER: ") {
		t.Fatal(err)
	}
}

func TestAWriteWhoseAnswerWasLostIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		req := secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "a"}}
		f.refuse(req, secret.ErrUncertain)
		r, _ := start(t, Config{Source: f, Variables: []Variable{{Name: "CERT", Text: `>>vault:pki/issue/web#certificate#{"common_name":"a"}`}}})
		none(t, r)
		f.set(&secret.Secret{Request: req, Data: map[string]any{"certificate": "pem"}})
		time.Sleep(time.Minute)
		wantVars(t, next(t, r), map[string]string{"CERT": "pem"})
	})
}
