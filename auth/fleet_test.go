package auth_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/internal/vaulttest"
)

// TestFleetUnderAQuota starts 1,000 sessions at once against a quota of 100
// requests a second: all log in within 60 s, none gives up, and from the fifth
// second on they offer at most three times the quota.
func TestFleetUnderAQuota(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const fleet, quota = 1000, 100
	v := vaulttest.Start(t)
	settings := appRole(t, v, map[string]any{"token_type": "batch"})
	v.Write(t, "sys/quotas/rate-limit/fleet", map[string]any{"rate": quota})
	client := v.ClientFor(t, "")

	var mu sync.Mutex
	var work sync.WaitGroup
	offered := map[int]int{} // attempts by second
	begin := time.Now()
	last := begin
	attempt := func() { // with mu held
		offered[int(time.Since(begin).Seconds())]++
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	in := 0
	for range fleet {
		m, err := all.New("approle", settings, all.Options{})
		if err != nil {
			t.Fatal(err)
		}
		own, leave := context.WithCancel(ctx)
		s, err := auth.New(auth.Config{Client: client, Method: m, Sinks: []auth.Sink{sinkFunc(func() {
			mu.Lock()
			defer mu.Unlock()
			attempt()
			in, last = in+1, time.Now()
			leave()
		})}, Trace: auth.Trace{OnFailure: func(error, time.Time) {
			mu.Lock()
			defer mu.Unlock()
			attempt()
		}}})
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			defer leave()
			if err := s.Run(own); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("gave up: %v", err)
			}
		})
	}
	work.Wait()
	if in != fleet {
		t.Errorf("%d of %d logged in within 60 s", in, fleet)
	}
	for second, n := range offered {
		if second >= 5 && n > 3*quota {
			t.Errorf("%d logins offered in second %d, want at most %d", n, second, 3*quota)
		}
	}
	t.Logf("all in after %s, offered by second: %v", last.Sub(begin).Round(time.Millisecond), offered)
}
