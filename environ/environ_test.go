package environ

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "s3cr3t-canary"

func TestFrom(t *testing.T) {
	for _, tc := range []struct{ in, want []string }{
		{nil, []string{}},
		{[]string{"B=2", "A=1"}, []string{"A=1", "B=2"}},
		{[]string{"A=1", "A=2"}, []string{"A=1"}}, // as getenv
		{[]string{"A=", "B=x=y"}, []string{"A=", "B=x=y"}},
		{[]string{"", "novalue", "=", "==x"}, []string{}},
		{[]string{`=C:=C:\dir`}, []string{`=C:=C:\dir`}}, // Windows keeps its drives' directories so
	} {
		if got := From(tc.in).List(); !slices.Equal(got, tc.want) {
			t.Errorf("From(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestMerge(t *testing.T) {
	a, b := From([]string{"A=1", "B=1"}), From([]string{"B=2", "C=2"})
	for _, tc := range []struct {
		p    Policy
		want string
	}{{Override, "A=1 B=2 C=2"}, {KeepFirst, "A=1 B=1 C=2"}} {
		got, err := a.Merge(b, tc.p)
		if err != nil || strings.Join(got.List(), " ") != tc.want {
			t.Errorf("policy %d: %q, %v", tc.p, got.List(), err)
		}
	}
	_, err := a.Merge(b, Conflict)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || !slices.Equal(conflict.Names, []string{"B"}) {
		t.Errorf("conflict: %v", err)
	}
	if _, err := a.Merge(From([]string{"D=1"}), Conflict); err != nil {
		t.Error(err)
	}
	if got := strings.Join(a.List(), " "); got != "A=1 B=1" {
		t.Errorf("Merge changed its receiver: %s", got)
	}
}

func TestSetLeavesTheOldValueAlone(t *testing.T) {
	var zero Environ
	e := zero.Set("A", "1")
	f := e.Set("A", "2")
	if v, _ := e.Get("A"); v != "1" || zero.Len() != 0 || f.Len() != 1 {
		t.Errorf("A=%s, zero has %d, f has %d", v, zero.Len(), f.Len())
	}
}

func TestStripAndKeep(t *testing.T) {
	e := From([]string{"VAULT_TOKEN=x", "VAULT_ADDR=y", "ENVEXEC_A=1", "ENVEXEC_B=2", "HOME=h"})
	if got := e.Strip("VAULT_TOKEN", "ENVEXEC_*").Names(); !slices.Equal(got, []string{"HOME", "VAULT_ADDR"}) {
		t.Errorf("strip: %q", got)
	}
	if got := e.Keep("HOME", "VAULT_*").Names(); !slices.Equal(got, []string{"HOME", "VAULT_ADDR", "VAULT_TOKEN"}) {
		t.Errorf("keep: %q", got)
	}
	if got := e.Keep().Len(); got != 0 {
		t.Errorf("keep nothing: %d", got)
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"A", "A", true}, {"A", "AB", false}, {"", "", true}, {"*", "", true}, {"*", "X", true}, {"A*", "ABC", true}, {"*C", "ABC", true},
		{"A*C", "AC", true}, {"A*C", "ABCB", false}, {"*B*", "ABC", true}, {"A**C", "AXC", true}, {"*AB", "AAB", true}, {"A*", "B", false}, {"A?", "AB", false},
	} {
		if got := Matches(tc.name, tc.pattern); got != tc.want {
			t.Errorf("Matches(%q, %q) = %v", tc.name, tc.pattern, got)
		}
	}
}

func TestChanged(t *testing.T) {
	a := From([]string{"SAME=1", "OLD=1", "GONE=1"})
	b := From([]string{"SAME=1", "OLD=2", "NEW=1"})
	if got := Changed(a, b); !slices.Equal(got, []string{"GONE", "NEW", "OLD"}) {
		t.Errorf("%q", got)
	}
	if got := Changed(a, a); got != nil {
		t.Errorf("unchanged: %q", got)
	}
}

func TestValuesAreNeverPrinted(t *testing.T) {
	e := From([]string{"PW=" + canary, "NUL=" + canary + "\x00", "BIG=" + strings.Repeat(canary, 200_000)})
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb, e)
		fmt.Fprintf(&b, verb, struct{ E Environ }{e})
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "env", e)
	if err := json.NewEncoder(&b).Encode(e); err != nil {
		t.Fatal(err)
	}
	b.WriteString(e.Check(canary + "\x00").Error())
	_, err := e.Merge(e, Conflict)
	b.WriteString(err.Error())
	if strings.Contains(b.String(), canary) {
		t.Error("a value was printed")
	}
}

func TestCheck(t *testing.T) {
	if err := From([]string{"A=1", "B=two\nlines"}).Check("app", "-x"); err != nil {
		t.Fatal(err)
	}
	lim := limits()
	fits := strings.Repeat("x", lim.each-len("A")-2)
	if err := From([]string{"A=" + fits}).Check(); err != nil {
		t.Errorf("the longest value: %v", err)
	}
	for _, tc := range []struct {
		e    Environ
		args []string
		want []string
	}{
		{From([]string{"N=a\x00b", "M=1"}), nil, []string{"variable N: value contains a NUL byte"}},
		{FromMap(map[string]string{"N\x00": "1"}), nil, []string{`variable "N\x00": name contains`}},
		{From([]string{"A=x" + fits, "B=\x00"}), nil, []string{"variable A: ", "variable B: "}},
		{Environ{}, []string{"app", fits + "xxx"}, []string{"argument 1: "}},
	} {
		err := tc.e.Check(tc.args...)
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
}

func TestTooLongIsToldApart(t *testing.T) {
	var long *TooLongError
	if err := From([]string{"A=" + strings.Repeat("x", limits().each)}).Check(); !errors.As(err, &long) || long.What != "variable A" {
		t.Errorf("%v", err)
	}
	if err := From([]string{"A=\x00"}).Check(); errors.As(err, &long) {
		t.Errorf("a NUL byte is not too long: %v", err)
	}
}

func TestIdentifier(t *testing.T) {
	for in, want := range map[string]string{"": "", "a-b.c": "a_b_c", "1x": "_1x", "Ünï": "_n_", "OK_1": "OK_1", "a b": "a_b"} {
		if got := Identifier(in); got != want {
			t.Errorf("Identifier(%q) = %q, want %q", in, got, want)
		}
		if valid := in != "" && in == want; Valid(in) != valid {
			t.Errorf("Valid(%q) = %v", in, !valid)
		}
	}
}

func TestDangerous(t *testing.T) {
	for name, want := range map[string]bool{"PATH": true, "LD_PRELOAD": true, "NODE_OPTIONS": true, "PASSWORD": false, "XLD_": false} {
		if Dangerous(name) != want {
			t.Errorf("Dangerous(%q) = %v", name, !want)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add("A=1\nB=2", "B=3\nC=", "A*")
	f.Add("=C:=x\nbad", "\x00=1", "*")
	f.Fuzz(func(t *testing.T, a, b, pattern string) {
		x, y := From(strings.Split(a, "\n")), From(strings.Split(b, "\n"))
		m, err := x.Merge(y, Override)
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range y.All() {
			if got, ok := m.Get(name); !ok || got != v {
				t.Fatalf("%q lost in the merge", name)
			}
		}
		if again := From(m.List()); !slices.Equal(again.List(), m.List()) {
			t.Fatalf("%q does not survive From", m.List())
		}
		if kept, cut := m.Keep(pattern).Len(), m.Strip(pattern).Len(); kept+cut != m.Len() {
			t.Fatalf("keep %d and strip %d of %d", kept, cut, m.Len())
		}
	})
}

func TestOrderSurvivesMerging(t *testing.T) {
	a := FromMap(map[string]string{"B": "1", "D": "2", "A1": "3", "A": "4"})
	for name, over := range map[string]Environ{
		"nothing new": FromMap(map[string]string{"D": "x"}),
		"between":     From([]string{"C=x", "A0=x", "D=x"}),
		"around":      FromMap(map[string]string{"A": "x", "0": "x", "Z": "x"}),
		"empty":       {},
	} {
		got, err := a.Merge(over, Override)
		if err != nil {
			t.Fatal(err)
		}
		if names := got.Names(); !slices.IsSorted(names) || len(names) != got.Len() {
			t.Errorf("%s: %q", name, names)
		}
		if names := got.Set("AA", "").Strip("B").Names(); !slices.IsSorted(names) || len(names) != got.Len() {
			t.Errorf("%s, then set and stripped: %q", name, names)
		}
	}
}
