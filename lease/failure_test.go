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

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func TestWhatHealsIsWaitedFor(t *testing.T) {
	page := reply{status: 502, body: "<html>bad gateway</html>"}
	for name, bad := range map[string]reply{
		"rate limit":        {status: 429, body: `{"errors":["request path: rate limit quota exceeded"]}`},
		"lagging standby":   refusal(412, "required index state not present"),
		"replication 472":   refusal(472),
		"replication 473":   refusal(473),
		"sealed":            refusal(503, "Vault is sealed"),
		"uninitialised":     refusal(501, "not initialized"),
		"internal error":    refusal(500, "1 error occurred:\n\t* internal error\n\n"),
		"proxy's page":      page,
		"gateway timeout":   refusal(504),
		"refused":           {err: errors.New("connect: connection refused")},
		"reset":             {err: errors.New("connection reset by peer"), sent: true},
		"cut short":         {status: 200, body: `{"data":{"k":`},
		"not JSON":          {status: 200, body: `<html>`},
		"a page, forbidden": {status: 403, body: `<html>who are you`}, // not Vault's words, so not Vault's verdict
		"a page, absent":    {status: 404, body: `<html>default backend`},
		"request timed out": {err: context.DeadlineExceeded, sent: true, delay: 70 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			serve := func(call) reply {
				if n.Add(1) < 4 {
					return bad
				}
				return kv2Answer(1, map[string]any{"k": "v"})
			}
			var fails []error
			cfg := Config{Trace: Trace{OnRetry: func(_ secret.Key, _ time.Duration, err error) { fails = append(fails, err) }}}
			inBubble(t, cfg, serve, func(w *world) {
				w.login(1)
				w.get(read("secret/data/a"))
				synctest.Wait()
				if len(fails) != 3 || !contains(fails[0].Error(), "secret/data/a") || contains(fails[0].Error(), "<html>") {
					t.Errorf("failures: %v", fails)
				}
			})
		})
	}
}

func TestWhatDoesNotHealIsToldAtOnceAndTriedSlowly(t *testing.T) {
	for name, tc := range map[string]struct {
		rep  reply
		is   error
		text string
	}{
		"forbidden": {refusal(403, "1 error occurred:\n\t* permission denied\n\n"), secret.ErrForbidden, "permission denied (403)"},
		"absent":    {refusal(404), secret.ErrMissing, "secret is missing (404)"},
		"bad":       {refusal(400, "unknown role: x"), nil, "unknown role: x"},
		"no such":   {refusal(405, "unsupported operation"), nil, "unsupported operation"},
		"empty":     {reply{status: 204}, secret.ErrMissing, "missing"},
		"wrapped":   {reply{status: 200, body: `{"wrap_info":{"token":"s.canary"},"data":null}`}, nil, "response-wrapped"},
		"deleted": {reply{status: 404, body: `{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":"2026-11-01T10:00:00Z","destroyed":false}}}`},
			secret.ErrMissing, "version 3 was deleted at 2026-11-01T10:00:00Z"},
		"destroyed": {reply{status: 404, body: `{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":"","destroyed":true}}}`},
			secret.ErrMissing, "version 3 was destroyed"},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			serve := func(c call) reply {
				if contains(c.path, "sys/internal") {
					return refusal(403, "permission denied")
				}
				if n.Add(1) < 5 {
					return tc.rep
				}
				return kv2Answer(1, map[string]any{"k": "v"})
			}
			inBubble(t, Config{random: func() float64 { return 0.99 }}, serve, func(w *world) {
				w.login(1)
				begin := time.Now()
				_, err := w.w.Get(w.t.Context(), read("some/path"))
				if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !contains(err.Error(), "some/path") || !contains(err.Error(), tc.text) || contains(err.Error(), "canary") {
					t.Fatalf("got %v", err)
				}
				var answer *AnswerError
				if !errors.As(err, &answer) || time.Since(begin) > 0 {
					t.Errorf("%T after %v", err, time.Since(begin))
				}
				_, err = w.w.Get(w.t.Context(), read("some/path"))
				synctest.Wait()
				if err == nil || n.Load() != 1 {
					t.Errorf("asking again asked Vault again (%d): %v", n.Load(), err)
				}
				w.fired()
				pass(10 * time.Minute)
				if !w.fired() || w.get(read("some/path")) == nil {
					t.Error("not told that it is there now")
				}
			})
		})
	}
}

func TestASecretOnceHadIsNeverTakenBack(t *testing.T) {
	bad := false
	serve := func(call) reply {
		if bad {
			return refusal(404)
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{StaticInterval: time.Minute, random: func() float64 { return 0.5 }}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.fired()
		w.vault.mu.Lock()
		bad = true
		w.vault.mu.Unlock()
		pass(time.Hour)
		w.get(read("secret/data/a"))
		if st := w.Status()[0]; w.fired() || !contains(st.Error, "missing") || st.Age != time.Hour {
			t.Errorf("%+v", st)
		}
	})
}

func TestARefusedSecretIsTriedNoMoreOftenThanAStaticOneIsRead(t *testing.T) {
	inBubble(t, Config{random: func() float64 { return 0.999 }}, func(call) reply { return refusal(403, "permission denied") }, func(w *world) {
		w.login(1)
		w.w.Want(read("sys/none"))
		pass(10 * time.Hour)
		if n := len(w.vault.seen("sys/none")); n > 140 {
			t.Errorf("%d requests in 10 hours", n)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	var n atomic.Int32
	serve := func(c call) reply {
		if n.Add(1) == 1 {
			return reply{status: 429, header: http.Header{"Retry-After": {"30"}}}
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		if at := w.vault.seen("")[1].at; at < 30*time.Second || at > 33*time.Second {
			t.Errorf("came back after %v", at)
		}
	})
}

// TestEveryStatusThatHeals: who waits for a secret is not told of it, asks again in the
// server's time or in ours, and a program's other secrets and its token are left alone.
func TestEveryStatusThatHeals(t *testing.T) {
	const ours = 3 * time.Second // more than the first pause of ours
	for name, tc := range map[string]struct {
		bad         reply
		least, most time.Duration // until asked again
		says        string
		back        bool // a reason to use the sealed cache
	}{
		"412":                      {refusal(412, "required index state not present"), 0, ours, "(412)", false},
		"472":                      {refusal(472), 0, ours, "(472)", false},
		"473":                      {refusal(473), 0, ours, "(473)", false},
		"429":                      {refusal(429, "rate limit quota exceeded"), 0, ours, "limits the rate of requests (429)", false},
		"429, Retry-After":         {later(refusal(429), "20"), 20 * time.Second, 23 * time.Second, "(429)", false},
		"429, Retry-After a date":  {later(refusal(429), "Sat, 01 Jan 2000 00:00:20 GMT"), 20 * time.Second, 23 * time.Second, "(429)", false},
		"429, Retry-After rubbish": {later(refusal(429), "soon"), 0, ours, "(429)", false},
		"503 sealed":               {refusal(503, "Vault is sealed"), 0, ours, "vault is sealed (503)", true},
		"503, Retry-After":         {later(refusal(503), "20"), 20 * time.Second, 23 * time.Second, "vault is unavailable (503)", true},
		"501 uninitialised":        {refusal(501), 0, ours, "not initialised (501)", true},
		"500":                      {refusal(500, "internal error"), 0, ours, "(500)", false},
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(c call) reply {
				if c.path == "secret/data/a" && c.at < time.Minute && c.at >= 20*time.Second || c.path == "secret/data/b" && c.at == 0 {
					return tc.bad
				}
				return kv2Answer(1, map[string]any{"k": "v"})
			}
			inBubble(t, Config{StaticInterval: 30 * time.Second, random: func() float64 { return 0.5 }}, serve, func(w *world) {
				w.login(1)
				w.get(read("secret/data/a"))
				w.get(read("secret/data/b")) // waits, without an error
				calls := w.vault.seen("secret/data/b")
				if gap := calls[1].at - calls[0].at; len(calls) != 2 || gap < tc.least || gap > tc.most {
					t.Errorf("%d requests, asked again after %v", len(calls), gap)
				}
				pass(45*time.Second - time.Since(w.vault.start))
				w.get(read("secret/data/a")) // the one it has
				if st := w.Status()[0]; !contains(st.Error, tc.says) || st.Failures == 0 || !st.Known {
					t.Errorf("status %+v", st)
				}
				if w.Status()[1].Error != "" || len(w.bad) != 0 {
					t.Error("others suffer")
				}
				pass(time.Minute)
				if st := w.Status()[0]; st.Error != "" || st.Failures != 0 {
					t.Errorf("afterwards %+v", st)
				}
				if back := silent(&failure{err: &AnswerError{Status: tc.bad.status}}); back != tc.back {
					t.Errorf("the sealed cache is used: %v", back)
				}
			})
		})
	}
}

// later adds a Retry-After.
func later(r reply, text string) reply {
	r.header = http.Header{"Retry-After": {text}}
	return r
}

func TestOneFailingSecretLeavesTheOthersAlone(t *testing.T) {
	serve := func(c call) reply {
		if c.path == "secret/data/bad" {
			return refusal(500, "no")
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{StaticInterval: 10 * time.Second, random: func() float64 { return 0.5 }}, serve, func(w *world) {
		w.login(1)
		w.w.Want(read("secret/data/bad"), read("secret/data/good"))
		pass(time.Hour)
		if n := len(w.vault.seen("secret/data/bad")); n > 135 {
			t.Errorf("the failing secret was asked for %d times", n)
		}
		if n := len(w.vault.seen("secret/data/good")); n < 360 || n > 380 {
			t.Errorf("the good one was read %d times", n)
		}
	})
}

func TestWritesAreNotRepeatedBlindly(t *testing.T) {
	req := secret.Request{Op: secret.Write, Path: "ssh/creds/otp", Body: map[string]any{"ip": "127.0.0.1"}}
	for name, tc := range map[string]struct {
		bad    reply
		repeat bool
	}{
		"never sent":     {reply{err: errors.New("connection refused")}, true},
		"sealed":         {refusal(503, "Vault is sealed"), true},
		"rate limit":     {refusal(429), true},
		"answer lost":    {reply{err: errors.New("connection reset"), sent: true}, false},
		"internal error": {refusal(500, "half done"), false},
		"answer cut":     {reply{status: 200, body: `{"data":`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			serve := func(call) reply {
				if n.Add(1) == 1 {
					return tc.bad
				}
				return leaseAnswer("x", 3600, false)
			}
			inBubble(t, Config{}, serve, func(w *world) {
				w.login(1)
				_, err := w.w.Get(w.t.Context(), req)
				synctest.Wait()
				if tc.repeat {
					if err != nil || n.Load() != 2 {
						t.Errorf("%d requests, %v", n.Load(), err)
					}
					return
				}
				if !errors.Is(err, secret.ErrUncertain) {
					t.Fatalf("got %v", err)
				}
				w.login(2)
				pass(time.Hour)
				if n.Load() != 1 {
					t.Errorf("sent %d times", n.Load())
				}
				_, err = w.w.Get(w.t.Context(), req)
				synctest.Wait()
				if err != nil || n.Load() != 2 {
					t.Errorf("asked for again: %d requests, %v", n.Load(), err)
				}
			})
		})
	}
}

func TestDueWriteIsRepeatedAfterAnUnknownOutcome(t *testing.T) {
	var n atomic.Int32
	serve := func(call) reply {
		if n.Add(1) == 2 {
			return reply{err: errors.New("connection reset"), sent: true}
		}
		return leaseAnswer(fmt.Sprint(n.Load()), 1000, false)
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(secret.Request{Op: secret.Write, Path: "ssh/creds/otp"})
		pass(950 * time.Second)
		if n.Load() != 3 {
			t.Errorf("%d requests", n.Load())
		}
	})
}
