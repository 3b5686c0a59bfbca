package auth

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	fleet      = 1000
	fleetQuota = 100 // logins a second
)

// quota lets fleetQuota logins a second through, as Vault's rate-limit quota does
// (a token bucket that holds one second's worth), and counts what is offered.
type quota struct {
	mu      sync.Mutex
	began   time.Time
	bucket  float64
	filled  time.Time
	offered map[int]int // by second
}

func (q *quota) Login(context.Context, *api.Client) (*api.Secret, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.offered[int(now.Sub(q.began).Seconds())]++
	q.bucket = min(fleetQuota, q.bucket+now.Sub(q.filled).Seconds()*fleetQuota)
	q.filled = now
	if q.bucket < 1 {
		return nil, refusal(429, `request path "auth/approle/login": rate limit quota exceeded`)
	}
	q.bucket--
	return service("t", 3600), nil
}

// TestFleetUnderAQuota starts 1,000 sessions at once against a quota of 100 a second, on
// a clock of its own: all log in within 60 s, none gives up, and from the fifth second on
// they offer at most three times the quota. BenchmarkFleet does it to a real Vault.
func TestFleetUnderAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{began: time.Now(), filled: time.Now(), bucket: fleetQuota, offered: map[int]int{}}
		in := make(chan time.Duration, fleet)
		for range fleet {
			s, err := New(Config{
				Client: fakeClient(t, &fakeVault{}), Method: q, random: rand.Float64, now: func() time.Duration { return time.Since(q.began) + time.Hour },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			s.cfg.Sinks = []Sink{loggedIn(func() { in <- time.Since(q.began); cancel() })}
			go func() {
				if err := s.Run(ctx); err != nil {
					t.Errorf("gave up: %v", err)
				}
			}()
		}
		var last time.Duration
		for range fleet {
			last = max(last, <-in)
		}
		synctest.Wait()
		if last > time.Minute {
			t.Errorf("all in after %s, want 60 s at most", last)
		}
		for second, n := range q.offered {
			if second >= 5 && n > 3*fleetQuota {
				t.Errorf("%d logins offered in second %d, want at most %d", n, second, 3*fleetQuota)
			}
		}
		t.Logf("all in after %s, offered by second: %v", last, q.offered)
	})
}
