package lease

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

func TestOneFetchHoweverManyAsk(t *testing.T) {
	serve := func(call) reply {
		r := kv2Answer(1, map[string]any{"k": "v"})
		r.delay = time.Second
		return r
	}
	inBubble(t, Config{}, serve, func(w *world) {
		got := make(chan *secret.Secret, 20)
		for range 20 {
			go func() {
				s, _ := w.w.Get(w.t.Context(), read("secret/data/a"))
				got <- s
			}()
		}
		synctest.Wait()
		if n := len(w.vault.seen("")); n != 0 {
			t.Fatalf("%d requests before the first token", n)
		}
		w.login(1)
		for range 20 {
			s := <-got
			if s.Values()["k"] != "v" || s.KV != 2 || s.Version != 1 || s.Epoch != 0 {
				t.Fatalf("got %v KV %d version %d epoch %d", s.Keys(), s.KV, s.Version, s.Epoch)
			}
		}
		if n := len(w.vault.seen("")); n != 1 {
			t.Errorf("%d requests for one secret", n)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	serve := func(c call) reply {
		r := kv2Answer(1, map[string]any{"path": c.path})
		r.delay = 100 * time.Millisecond
		return r
	}
	inBubble(t, Config{MaxConcurrent: 3}, serve, func(w *world) {
		w.login(1)
		var reqs []secret.Request
		for i := range 50 {
			reqs = append(reqs, read(fmt.Sprintf("secret/data/%d", i)))
		}
		w.w.Want(reqs...)
		for _, r := range reqs {
			w.get(r)
		}
		if w.vault.most != 3 {
			t.Errorf("%d requests at once, want 3", w.vault.most)
		}
	})
}

func TestSlowSecretsDoNotDelayOthers(t *testing.T) {
	serve := func(c call) reply {
		if strings.Contains(c.path, "hang") {
			return reply{err: context.DeadlineExceeded, delay: 59 * time.Second, sent: true}
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{MaxConcurrent: 2, StaticInterval: 10 * time.Second}, serve, func(w *world) {
		w.login(1)
		for i := range 10 {
			w.w.Want(read(fmt.Sprintf("secret/data/hang%d", i)))
		}
		pass(time.Second)
		begin := time.Now()
		w.get(read("secret/data/good"))
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the good secret waited %v for those that hang", took)
		}
		before := len(w.vault.seen("secret/data/good"))
		pass(10 * time.Minute)
		// Every 10 s, but for the 2 s a new hanging secret may hold the last place.
		if n := len(w.vault.seen("secret/data/good")) - before; n < 40 {
			t.Errorf("the good secret was read %d times in 10 minutes, want about 55", n)
		}
	})
}

func TestChangeIsToldOnceAndOnlyWhenValuesDiffer(t *testing.T) {
	var value atomic.Value
	var version atomic.Int64
	value.Store("one")
	serve := func(call) reply {
		return kv2Answer(int(version.Add(1)), map[string]any{"k": value.Load()})
	}
	inBubble(t, Config{StaticInterval: time.Minute}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.fired()
		w.w.Take()
		pass(10 * time.Minute)
		if w.fired() {
			t.Fatal("a new version with equal values is no change")
		}
		value.Store("two")
		pass(time.Minute)
		if !w.fired() || len(w.w.Take()) != 1 || len(w.w.Take()) != 0 {
			t.Fatal("a new value was not told once")
		}
		if got := w.get(read("secret/data/a")).Values()["k"]; got != "two" {
			t.Errorf("got %v", got)
		}
	})
}

func TestShortestWishWinsAndJitterOnlyShortens(t *testing.T) {
	serve := func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }
	inBubble(t, Config{random: func() float64 { return 0.999 }}, serve, func(w *world) {
		w.login(1)
		w.w.Want(secret.Request{Path: "secret/data/a", Refresh: time.Minute}, secret.Request{Path: "secret/data/a", Refresh: 10 * time.Second}, read("secret/data/a"))
		pass(100 * time.Second)
		calls := w.vault.seen("")
		for i := 1; i < len(calls); i++ {
			if gap := calls[i].at - calls[i-1].at; gap > 10*time.Second || gap < 9*time.Second {
				t.Fatalf("gap of %v", gap)
			}
		}
		if len(calls) < 10 {
			t.Errorf("%d reads in 100 s", len(calls))
		}
	})
}

func TestRefreshReadsNow(t *testing.T) {
	serve := func(c call) reply {
		if c.path == "db/creds/app" {
			return leaseAnswer(fmt.Sprint(c.at), 3600, true)
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.get(read("db/creds/app"))
		pass(time.Second)
		w.Refresh()
		synctest.Wait()
		if a, b := len(w.vault.seen("secret")), len(w.vault.seen("db")); a != 2 || b != 1 {
			t.Fatalf("refresh of all static secrets: %d and %d requests", a, b)
		}
		w.Refresh(read("db/creds/app").Key())
		synctest.Wait()
		if n := len(w.vault.seen("db")); n != 2 {
			t.Errorf("named lease was not refreshed: %d", n)
		}
	})
}

func TestRefreshDuringFlightReadsAgain(t *testing.T) {
	serve := func(call) reply {
		r := kv2Answer(1, map[string]any{"k": "v"})
		r.delay = time.Second
		return r
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.w.Want(read("secret/data/a"))
		pass(500 * time.Millisecond)
		w.Refresh()
		w.Refresh()
		pass(5 * time.Second)
		if n := len(w.vault.seen("")); n != 2 {
			t.Errorf("%d requests, want the one in flight and one more", n)
		}
	})
}

func TestReleaseEndsTheSchedule(t *testing.T) {
	serve := func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }
	inBubble(t, Config{StaticInterval: time.Minute}, serve, func(w *world) {
		w.login(1)
		other := w.Watch()
		w.get(read("secret/data/a"))
		if _, err := other.Get(w.t.Context(), read("secret/data/a")); err != nil {
			t.Fatal(err)
		}
		w.w.Release(read("secret/data/a").Key())
		pass(90 * time.Second)
		if n := len(w.vault.seen("")); n != 2 {
			t.Fatalf("%d reads, the other reader still wants it", n)
		}
		other.Close()
		pass(time.Hour)
		if n := len(w.vault.seen("")); n != 2 || len(w.Status()) != 0 {
			t.Errorf("%d reads after the last release", n)
		}
	})
}

func TestGetEndsWithItsContextAndTheLastFailure(t *testing.T) {
	serve := func(call) reply { return reply{err: errors.New("connection refused")} }
	inBubble(t, Config{}, serve, func(w *world) {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		if _, err := w.w.Get(ctx, read("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("without a token: %v", err)
		}
		w.login(1)
		ctx, cancel = context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		_, err := w.w.Get(ctx, read("a"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNamespaces(t *testing.T) {
	serve := func(c call) reply { return kv2Answer(1, map[string]any{"ns": c.ns}) }
	inBubble(t, Config{}, serve, func(w *world) {
		_ = w.WriteToken(w.t.Context(), secret.Token{ID: secret.NewText("t"), Epoch: 1, Namespace: "team/"})
		for ns, want := range map[string]string{"": "team/", "app": "team/app", "/app/b/": "team/app/b"} {
			if got := w.get(secret.Request{Path: "secret/data/a", Namespace: ns}).Values()["ns"]; got != want {
				t.Errorf("namespace %q: asked in %q, want %q", ns, got, want)
			}
		}
	})
}

func TestStatusTellsStateAndNoValues(t *testing.T) {
	serve := func(c call) reply {
		if c.path == "secret/data/bad" {
			return refusal(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
		}
		return leaseAnswer("canary", 600, false)
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(read("db/creds/app"))
		_, _ = w.w.Get(w.t.Context(), read("secret/data/bad"))
		pass(10 * time.Second)
		st := w.Status()
		if len(st) != 2 || !st[0].Known || st[0].Age != 10*time.Second || st[0].EndsIn != 590*time.Second || st[0].NextIn != 530*time.Second || st[0].Epoch != 1 {
			t.Errorf("good: %+v", st)
		}
		if st[0].Schedule != "replaced 1m0s before its end" || st[1].Schedule != "read every 5m0s" {
			t.Errorf("schedules: %q, %q", st[0].Schedule, st[1].Schedule)
		}
		if st[1].Known || st[1].Failures == 0 || !strings.Contains(st[1].Error, "permission denied") {
			t.Errorf("bad: %+v", st[1])
		}
		if strings.Contains(fmt.Sprint(st), "canary") {
			t.Error("status shows a value")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{RenewalThreshold: 1.5, MaxConcurrent: -1, MinInterval: -1})
	for _, want := range []string{"no vault client", "RenewalThreshold", "MaxConcurrent", "MinInterval"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}

func TestRunEndsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVault{t: t, start: time.Now()}
		s, err := New(Config{Client: v.client()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		got := make(chan error)
		go func() {
			_, err := s.Watch().Get(t.Context(), read("a"))
			got <- err
		}()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if s.Run(t.Context()) == nil {
			t.Error("a second Run was allowed")
		}
	})
}

func TestLaterWishBringsTheNextReadForward(t *testing.T) {
	inBubble(t, Config{}, func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.get(secret.Request{Path: "secret/data/a", Refresh: 10 * time.Second})
		pass(15 * time.Second)
		if n := len(w.vault.seen("")); n != 2 {
			t.Errorf("%d reads in 15 s", n)
		}
	})
}
