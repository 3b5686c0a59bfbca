package lease

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/envtemplate"
)

// TestAnHourOfLogins is two figures of docs/secrets.md: while nothing changes, logins
// restart nothing and cost no request beyond what the schedules of the secrets say.
func TestAnHourOfLogins(t *testing.T) {
	const secrets, logins, interval = 50, 60, 5 * time.Minute
	still := func(call) reply {
		return reply{status: 200, body: `{"data":{"data":{"key":"value"},"metadata":{"version":1,"created_time":"t"}},"mount_type":"kv"}`}
	}
	inBubble(t, Config{StaticInterval: interval}, still, func(w *world) {
		cfg := envtemplate.Config{Source: w.w}
		for i := range secrets {
			cfg.Variables = append(cfg.Variables, envtemplate.Variable{Name: fmt.Sprintf("S%d", i), Path: fmt.Sprintf("secret/data/s%d", i), Key: "key"})
		}
		renderer, err := envtemplate.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { _ = renderer.Run(ctx) })
		starts := map[uint64]bool{} // each generation with a new number starts the program
		running.Go(func() {
			for {
				select {
				case g := <-renderer.Generations():
					starts[g.ID] = true
				case <-ctx.Done():
					return
				}
			}
		})
		for n := range logins {
			w.login(uint64(n + 1))
			pass(time.Hour / logins)
		}
		synctest.Wait()
		if len(starts) != 1 {
			t.Errorf("the program was started %d times", len(starts))
		}
		requests, most := len(w.vault.seen("")), secrets*(1+int(time.Hour/interval))
		if requests > most || requests < most/2 {
			t.Errorf("%d requests in the hour, by the schedules at most %d", requests, most)
		}
		t.Logf("%d restarts, %d requests of at most %d", len(starts)-1, requests, most)
	})
}
