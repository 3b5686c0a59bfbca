package auth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestClocksDiffer: what Vault's clock says is of no weight, be it hours behind or ahead of
// ours: only how long a lease lasts counts.
func TestClocksDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-26 * time.Hour, -time.Hour, time.Hour, 26 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				look := func(ttl int) map[string]any {
					theirs := time.Now().Add(skew)
					return map[string]any{
						"id": "given", "ttl": ttl, "creation_ttl": 1000, "renewable": true, "creation_time": theirs.Unix(),
						"issue_time": theirs.Format(time.RFC3339), "expire_time": theirs.Add(1000 * time.Second).Format(time.RFC3339),
					}
				}
				vault := &fakeVault{renew: func(string) (int, int) { return 200, 1000 }}
				m := &fakeMethod{login: func(int) (*api.Secret, error) { return &api.Secret{Data: look(1000)}, nil }}
				s, stop := start(t, vault, m, nil)
				synctest.Wait()
				if left, ends := s.EndsIn(1); !ends || left != 1000*time.Second {
					t.Errorf("the token has %s left, want 1000s", left)
				}
				time.Sleep(590 * time.Second)
				if n := vault.count("renew-self"); n != 0 {
					t.Errorf("%d renewals before 60 %% of the life, want none", n)
				}
				time.Sleep(110 * time.Second)
				if n := vault.count("renew-self"); n != 1 || m.count() != 1 {
					t.Errorf("at 70 %% of the life %d renewals and %d logins, want 1 and 1", n, m.count())
				}
				_ = stop()
			})
		})
	}
}

// TestWallClockSteps: a token that was kept, and may not look itself up, is judged by the wall
// clock; one that is looked up is judged by Vault's answer alone, wherever our clock went since.
func TestWallClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			look := `{"data":{"id":"old","ttl":1000,"renewable":true,"type":"service"}}`
			vault := &fakeVault{look: func(string) (int, string) { return 200, look }}
			keep := &shelf{records: map[string][]byte{keptName: fmt.Appendf(nil, `{"ID":"old","TTL":%d,"At":%q}`, 1000*time.Second, time.Now().Add(step).Format(time.RFC3339))}}
			m := &fakeMethod{login: func(int) (*api.Secret, error) { return service("new", 1000), nil }}
			s, stop := start(t, vault, m, func(c *Config) { c.Keep = keep })
			synctest.Wait()
			tok, _ := s.Token()
			if left, _ := s.EndsIn(1); tok.ID.Reveal() != "old" || left != 1000*time.Second || m.count() != 0 {
				t.Errorf("step %s: %d logins, %s left, want the kept token with 1000s", step, m.count(), left)
			}
			_ = stop()
		})
	}
}
