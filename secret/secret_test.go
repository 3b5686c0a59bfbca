package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const canary = "c4n4ry-value"

func TestTextCannotBePrinted(t *testing.T) {
	text := NewText(canary)
	token := Token{ID: text}
	s := &Secret{Request: Request{Path: "secret/data/db"}, Data: map[string]any{"password": canary}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", text, token, s)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("m", "text", text, "token", token, "secret", s)
	}
	j, err := json.Marshal(struct{ Text Text }{text})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("a secret was printed: %s", out.String())
	}
	if text.Reveal() != canary {
		t.Error("Reveal lost the value")
	}
}

func TestKeyTellsRequestsApart(t *testing.T) {
	distinct := []Request{
		{Path: "a"}, {Path: "a", Op: List}, {Path: "a", Version: 2}, {Path: "a", Namespace: "ns"},
		{Path: "a", Query: url.Values{"x": {"1"}}}, {Path: "a", Op: Write, Body: map[string]any{"x": "1"}},
		{Path: `a" "b`}, {Path: "a", Namespace: `" "a`},
	}
	seen := map[Key]int{}
	for i, r := range distinct {
		if j, dup := seen[r.Key()]; dup {
			t.Errorf("requests %d and %d share the key %s", i, j, r.Key())
		}
		seen[r.Key()] = i
	}
	a := Request{Path: "a", Op: Write, Body: map[string]any{"x": "1", "y": "2"}}
	b := Request{Path: "a", Op: Write, Body: map[string]any{"y": "2", "x": "1"}, Refresh: 5}
	if a.Key() != b.Key() {
		t.Error("the order of a body or the refresh interval changed the identity")
	}
}

func TestValuesLookInsideTheEnvelope(t *testing.T) {
	s := &Secret{KV: 2, Data: map[string]any{"data": map[string]any{"b": 1, "a": 2}, "metadata": nil}}
	if got := fmt.Sprint(s.Keys()); got != "[a b]" {
		t.Errorf("keys = %s", got)
	}
	s.KV = 1
	if got := fmt.Sprint(s.Keys()); got != "[data metadata]" {
		t.Errorf("keys without an envelope = %s", got)
	}
}
