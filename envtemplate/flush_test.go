package envtemplate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// flushed calls Flush and returns what is in Generations then, and how long that took.
func flushed(t *testing.T, r *Renderer) (g Generation, is bool, took time.Duration) {
	t.Helper()
	start := time.Now()
	r.Flush(t.Context())
	took = time.Since(start)
	select {
	case g = <-r.Generations():
		return g, true, took
	default:
		return g, false, took
	}
}

func TestFlushReturnsWhenAllIsRendered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "1"})
		r, _ := start(t, Config{Source: f, Variables: []Variable{
			{Name: "A", Path: "a", Key: "k"}, {Name: "B", Text: "vault:a#${.k | toUpper}"},
		}})
		next(t, r)
		if _, is, took := flushed(t, r); is || took != 0 {
			t.Errorf("without news: %v after %v", is, took)
		}
		for range 100 {
			f.kv("a", map[string]any{"k": time.Now().String()})
			if g, is, took := flushed(t, r); !is || took != 0 || len(g.Changed) != 2 {
				t.Fatalf("%v after %v: changed %v", is, took, g.Changed)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestFlushWaitsForQuietUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "1"})
		r, _ := start(t, Config{Source: f, Templates: []Template{{
			Contents: `{{ with secret "a" }}{{ .Data.data.k }}{{ end }}`, Destination: "/a", WaitMin: 5 * time.Second,
		}}})
		next(t, r)
		f.kv("a", map[string]any{"k": "2"})
		if g, is, took := flushed(t, r); !is || took != 5*time.Second {
			t.Errorf("%v after %v: changed %v", is, took, g.Changed)
		}
	})
}

func TestFlushIsNotHeldUpForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"next": "b"})
		f.kv("b", map[string]any{"k": "1"})
		r, stop := start(t, Config{Source: f, Variables: []Variable{{Name: "V", Path: "a", Key: "next"}}, EnvTemplates: []EnvTemplate{{
			Contents: `{{ with secret "a" }}{{ with secret .Data.data.next }}{{ .Data.data.k }}{{ end }}{{ end }}`, Name: "A",
		}}})
		next(t, r)
		f.kv("a", map[string]any{"next": "away"}) // which nobody answers for
		if _, _, took := flushed(t, r); took > time.Minute {
			t.Errorf("after %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.Flush(ctx)
		if err := stop(); err != nil {
			t.Error(err)
		}
		r.Flush(t.Context())
	})
}
