package lease

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A right that is taken away during an outage must not hide behind it.
func TestARefusalIsSaidAlsoAfterAnotherFailure(t *testing.T) {
	answer := kv2Answer(1, map[string]any{"k": "v"})
	var log bytes.Buffer // read when nothing writes: see pass
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	inBubble(t, Config{StaticInterval: time.Second, Logger: logger}, func(call) reply { return answer }, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		become := func(next reply) {
			w.vault.mu.Lock()
			answer = next
			w.vault.mu.Unlock()
			pass(10 * time.Minute)
		}
		become(refusal(503, "Vault is sealed"))
		log.Reset()
		become(refusal(403, "permission denied"))
		if n := strings.Count(log.String(), "permission denied"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
	})
}
