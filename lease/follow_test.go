package lease

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envexec/envexec/secret"
)

// TestEventsCostATokenNothing: each request for the stream is one of the uses of a token of few
// uses, and one more refusal for a token without the right. The first is not made, the second
// not repeated until there is another token.
func TestEventsCostATokenNothing(t *testing.T) {
	for name, test := range map[string]struct{ uses, hour, other int32 }{
		"use-limited":     {5, 0, 0},
		"without a right": {0, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			cfg := Config{Events: func(*http.Request) (*http.Response, error) {
				asked.Add(1)
				return &http.Response{StatusCode: http.StatusForbidden, Status: "403 Forbidden", Body: io.NopCloser(strings.NewReader(""))}, nil
			}}
			serve := func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }
			inBubble(t, cfg, serve, func(w *world) {
				login := func(epoch uint64) {
					tok := secret.Token{ID: secret.NewText("hvs.token"), Epoch: epoch, Own: true, NumUses: int(test.uses)}
					if err := w.WriteToken(w.t.Context(), tok); err != nil {
						t.Fatal(err)
					}
				}
				login(1)
				w.get(read("secret/data/a"))
				time.Sleep(50 * time.Minute)
				if n := asked.Load(); n != test.hour {
					t.Errorf("%d requests for the stream in 50 minutes, want %d", n, test.hour)
				}
				login(2)
				time.Sleep(5 * time.Minute)
				if n := asked.Load(); n != test.other {
					t.Errorf("%d requests after another login, want %d", n, test.other)
				}
			})
		})
	}
}

// TestEachUseIsTold: whoever keeps the token counts what is left of it.
func TestEachUseIsTold(t *testing.T) {
	var used atomic.Int32
	cfg := Config{OnUse: func(tok secret.Token, status int) {
		if tok.Epoch == 1 && status == http.StatusOK {
			used.Add(1)
		}
	}}
	serve := func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }
	inBubble(t, cfg, serve, func(w *world) {
		if err := w.WriteToken(w.t.Context(), secret.Token{ID: secret.NewText("hvs.token"), Epoch: 1, Own: true, NumUses: 9}); err != nil {
			t.Fatal(err)
		}
		w.get(read("secret/data/a"))
		w.vault.mu.Lock()
		want := int32(len(w.vault.calls))
		w.vault.mu.Unlock()
		if n := used.Load(); n != want || n == 0 {
			t.Errorf("told of %d uses, want %d", n, want)
		}
	})
}
