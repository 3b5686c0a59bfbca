package lease

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/secret"
)

// TestHostileAnswers: whatever comes in the place of an answer, a value once had stays,
// Vault is not flooded, nothing of the answer is quoted, and the next good one is taken.
func TestHostileAnswers(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200_000) + strings.Repeat("}", 200_000)
	page := http.Header{"Content-Type": {"text/html"}}
	for name, bad := range map[string]reply{
		"nothing":               {status: 200},
		"no content":            {status: 204},
		"garbage":               {status: 200, body: "\x00\xffhunter2\x1b[31m"},
		"page":                  {status: 200, body: "<html>hunter2</html>", header: page},
		"page of a proxy":       {status: 502, body: "<html>hunter2" + strings.Repeat("x", 1<<20) + "</html>", header: page},
		"half an answer":        {status: 200, body: `{"data":{"data":{"k":"hunter2`},
		"no object":             {status: 200, body: `["hunter2"]`},
		"null":                  {status: 200, body: `null`},
		"null data":             {status: 200, body: `{"data":null}`},
		"text for data":         {status: 200, body: `{"data":"hunter2"}`},
		"number for lease":      {status: 200, body: `{"lease_id":7,"data":{"k":"hunter2"}}`},
		"text for duration":     {status: 200, body: `{"lease_id":"x","lease_duration":"hunter2","data":{}}`},
		"deep":                  {status: 200, body: `{"data":` + deep + `}`},
		"too much":              {status: 200, body: `{"data":{"data":{"k":"` + strings.Repeat("hunter2 ", 100<<20/8) + `"}}}`},
		"error without words":   {status: 500, body: `{}`},
		"error of wrong type":   {status: 500, body: `{"errors":"hunter2"}`},
		"redirect to nowhere":   {status: 307},
		"redirect to itself":    {status: 307, header: http.Header{"Location": {"/v1/secret/data/a"}}},
		"status nobody knows":   {status: 299, body: `{`},
		"teapot":                {status: 418, body: `hunter2`},
		"too busy for ever":     {status: 429, header: http.Header{"Retry-After": {"99999999999999999999"}}},
		"busy until yesterday":  {status: 429, header: http.Header{"Retry-After": {"Mon, 02 Jan 2006 15:04:05 GMT"}}},
		"connection lost":       {err: errors.New("EOF")},
		"slower than the limit": {status: 200, delay: time.Hour, body: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			now := kv2Answer(1, map[string]any{"k": "good"})
			serve := func(c call) reply {
				if strings.HasPrefix(c.path, "sys/") {
					return refusal(403, "permission denied")
				}
				return now
			}
			inBubble(t, Config{StaticInterval: time.Minute, random: func() float64 { return 0.5 }}, serve, func(w *world) {
				w.login(1)
				req := read("secret/data/a")
				w.get(req)
				w.vault.mu.Lock()
				now = bad
				w.vault.mu.Unlock()
				if pass(90 * time.Second); name != "too much" { // which takes its time
					pass(10 * time.Minute)
				}
				if got := w.get(req).Values()["k"]; got != "good" {
					t.Errorf("value %v", got)
				}
				if n := len(w.vault.seen("secret/")); n > 60 {
					t.Errorf("%d requests in ten minutes", n)
				}
				for _, e := range w.Status() {
					if strings.Contains(e.Error, "hunter2") || len(e.Error) > 1000 {
						t.Errorf("%d bytes of error: %.200s", len(e.Error), e.Error)
					}
				}
				w.vault.mu.Lock()
				now = kv2Answer(2, map[string]any{"k": "better"})
				w.vault.mu.Unlock()
				pass(12 * time.Minute)
				if got := w.get(req).Values()["k"]; got != "better" {
					t.Errorf("afterwards value %v", got)
				}
			})
		})
	}
}

// TestHostileDurations: no life, however odd, makes a flood, a lease kept for ever or a panic.
func TestHostileDurations(t *testing.T) {
	for _, ttl := range []string{"-1", "-9223372036854775808", "0", "1", "0.5", "1e3", "1e400", "9223372036854775807", "99999999999999999999999", "null"} {
		for _, body := range []string{
			`{"lease_id":"x","renewable":true,"lease_duration":%s,"data":{"k":"v"}}`,
			`{"lease_id":"x","renewable":false,"lease_duration":%s,"data":{"k":"v"}}`,
			`{"data":{"k":"v","ttl":%s,"rotation_period":%[1]s}}`,
			`{"data":{"secret_id":"v","secret_id_ttl":%s}}`,
			`{"mount_type":"kv","lease_duration":%s,"data":{"k":"v"}}`,
		} {
			answer := fmt.Sprintf(body, ttl)
			t.Run(answer, func(t *testing.T) {
				inBubble(t, Config{}, func(call) reply { return reply{status: 200, body: answer} }, func(w *world) {
					w.login(1)
					for _, op := range []secret.Op{secret.Read, secret.Write} {
						w.w.Want(secret.Request{Op: op, Path: "x/y"})
					}
					pass(time.Minute)
					if n := len(w.vault.seen("")); n > 2*62 {
						t.Errorf("%d requests in a minute", n)
					}
					pass(20 * time.Minute)
					_ = w.Status()
				})
			})
		}
	}
}

// TestAFlappingValueIsToldAsItIs: between two values at every read; readers hear of each,
// and Vault is asked no more often.
func TestAFlappingValueIsToldAsItIs(t *testing.T) {
	n := 0
	serve := func(call) reply {
		n++
		return kv2Answer(n, map[string]any{"k": n % 2})
	}
	inBubble(t, Config{StaticInterval: 10 * time.Second}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.fired()
		for range 20 {
			pass(10 * time.Second)
			if !w.fired() || len(w.w.Take()) != 1 {
				t.Fatal("a change was not told")
			}
		}
		if n != 21 {
			t.Errorf("%d reads", n)
		}
	})
}

// TestReplacementComesEarlyByChanceOnly: what cannot be renewed is replaced at the
// threshold of its life, less up to a twentieth of that.
func TestReplacementComesEarlyByChanceOnly(t *testing.T) {
	for chance, want := range map[float64]time.Duration{0: 900 * time.Second, 0.5: 877500 * time.Millisecond, 0.999999: 855 * time.Second} {
		cfg := Config{random: func() float64 { return chance }}
		inBubble(t, cfg, func(call) reply { return leaseAnswer("x", 1000, false) }, func(w *world) {
			w.login(1)
			w.get(read("db/creds/app"))
			pass(want + 10*time.Millisecond)
			calls := w.vault.seen("db/")
			if len(calls) != 2 || (calls[1].at-want).Abs() > 10*time.Millisecond {
				t.Errorf("chance %v: %v", chance, calls)
			}
		})
	}
}
