package auth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

func TestRenewsThenReplacesBeforeTheMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		const maximum = 2 * time.Hour
		vault := &fakeVault{renew: func(token string) (int, int) {
			left := maximum - time.Since(begin)
			if token == "two" {
				left = time.Hour
			}
			return 200, int(min(time.Hour, left).Seconds())
		}}
		m := &fakeMethod{login: func(n int) (*api.Secret, error) {
			return service([]string{"one", "two", "three"}[n-1], 3600), nil
		}}
		sink := &fakeSink{}
		s, stop := start(t, vault, m, func(c *Config) { c.Sinks = []Sink{sink} })

		time.Sleep(50 * time.Minute)
		if n := vault.count("renew-self one"); n != 1 {
			t.Errorf("renewed %d times in 50 min, want 1 (at 39 min)", n)
		}
		time.Sleep(maximum - 50*time.Minute - time.Second)
		synctest.Wait()
		if got := sink.tokens(); got != "one two" {
			t.Errorf("just before the maximum the sink has %q, want \"one two\"", got)
		}
		if n := vault.count("revoke-self"); n != 0 {
			t.Errorf("revoked %d times before Retire", n)
		}
		if left, ends := s.EndsIn(1); !ends || left > time.Second || left == 0 {
			t.Errorf("the first token lives for %v (%v), want a moment", left, ends)
		}
		if left, ends := s.EndsIn(2); !ends || left < 30*time.Minute {
			t.Errorf("the second token lives for %v (%v)", left, ends)
		}
		s.Retire(2)
		synctest.Wait()
		if left, ends := s.EndsIn(1); !ends || left != 0 {
			t.Errorf("after it was given up the first token lives for %v (%v)", left, ends)
		}
		if n := vault.count("revoke-self one"); n != 1 {
			t.Errorf("revoked the old token %d times after Retire, want 1", n)
		}
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(t.Context()); err != nil || vault.count("revoke-self two") != 1 {
			t.Errorf("Close: %v, revoked %d times, want 1", err, vault.count("revoke-self two"))
		}
	})
}

func TestInvalidLogsInOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 3600), nil }}
		vault := &fakeVault{}
		s, stop := start(t, vault, m, nil)
		time.Sleep(time.Minute)
		tok, _ := s.Token()
		s.Invalid(tok)
		s.Invalid(tok)
		synctest.Wait()
		if left, ends := s.EndsIn(1); !ends || left != 0 {
			t.Errorf("a dead token lives for %v (%v)", left, ends)
		}
		s.Invalid(tok) // a late reporter: the new token is already there
		synctest.Wait()
		if m.count() != 2 {
			t.Errorf("logged in %d times, want 2", m.count())
		}
		if now, _ := s.Token(); now.Epoch != 2 {
			t.Errorf("epoch is %d, want 2", now.Epoch)
		}
		_ = stop()
		_ = s.Close(t.Context())
		if n := vault.count("revoke-self 1"); n != 0 {
			t.Error("revoked a token that Vault no longer knows")
		}
	})
}

// TestTheSameTokenAgain: a given token that is looked up again is no news, and stays under watch.
func TestTheSameTokenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{}
		m := &fakeMethod{login: func(int) (*api.Secret, error) {
			return &api.Secret{Data: map[string]any{"id": "given", "ttl": 0}}, nil
		}}
		s, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Sinks = []Sink{sink} })
		for range 3 {
			time.Sleep(time.Minute)
			tok, _ := s.Token()
			s.Invalid(tok)
		}
		time.Sleep(time.Minute)
		if tok, _ := s.Token(); m.count() != 4 || tok.Epoch != 1 || sink.tokens() != "given" {
			t.Errorf("%d lookups, epoch %d, written %q; want 4, 1 and once", m.count(), tok.Epoch, sink.tokens())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestInvalidTokensInARowAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Session
		m := &fakeMethod{login: func(n int) (*api.Secret, error) { return service(time.Now().String(), 3600), nil }}
		s, stop := start(t, &fakeVault{}, m, nil)
		begin := time.Now()
		for time.Since(begin) < 10*time.Minute {
			if tok, ok := s.Token(); ok {
				s.Invalid(tok)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := m.count(); n > 15 {
			t.Errorf("%d logins in 10 min of tokens that die at once, want at most 15", n)
		}
		_ = stop()
	})
}

func TestDeniedAtStartEndsRun(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		synctest.Test(t, func(t *testing.T) {
			m := &fakeMethod{login: func(int) (*api.Secret, error) { return nil, refusal(status, "invalid secret id") }}
			s, stop := start(t, &fakeVault{}, m, nil)
			time.Sleep(time.Second)
			var de *DeniedError
			if err := stop(); !errors.As(err, &de) || de.Status != status {
				t.Errorf("Run: %v, want a DeniedError of status %d", err, status)
			}
			if m.count() != 1 || s.LastError() == nil {
				t.Errorf("%d logins, last error %v", m.count(), s.LastError())
			}
		})
	}
}

func TestUnreachableAtStartIsRetriedWithALowCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{login: func(n int) (*api.Secret, error) {
			switch {
			case n == 3:
				return nil, refusal(http.StatusTooManyRequests, "quota")
			case n < 20:
				return nil, errors.New("connection refused")
			}
			return service("one", 0), nil
		}}
		s, stop := start(t, &fakeVault{}, m, func(c *Config) { c.random = func() float64 { return 0.999 } })
		time.Sleep(time.Second)
		if s.LastError() == nil {
			t.Error("the cause is not readable")
		}
		time.Sleep(20 * 10 * time.Second)
		if tok, ok := s.Token(); !ok || tok.TTL != 0 || s.LastError() != nil {
			t.Errorf("no login after 20 tries: %d tries, %v", m.count(), s.LastError())
		}
		_ = stop()
	})
}

func TestDeniedLaterWaitsForChangedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok := true
		m := &fakeMethod{print: "first"}
		m.login = func(n int) (*api.Secret, error) {
			if ok || m.print == "second" {
				return service(string(rune('0'+n)), 3600), nil
			}
			return nil, refusal(400, "invalid secret id")
		}
		s, stop := start(t, &fakeVault{}, m, nil)
		time.Sleep(time.Minute)
		m.mu.Lock()
		ok = false
		m.mu.Unlock()
		tok, _ := s.Token()
		s.Invalid(tok)
		time.Sleep(14 * time.Minute)
		if m.count() != 2 {
			t.Errorf("%d logins within 14 min of a denied one, want 2", m.count())
		}
		time.Sleep(16 * time.Minute)
		if m.count() != 3 {
			t.Errorf("%d logins within 30 min, want 3", m.count())
		}
		m.change("second")
		time.Sleep(2 * time.Second)
		if tok, _ := s.Token(); tok.Epoch != 2 || s.LastError() != nil {
			t.Errorf("changed credentials were not used: epoch %d, %v", tok.Epoch, s.LastError())
		}
		if err := stop(); err != nil {
			t.Errorf("a denied re-login ended Run: %v", err)
		}
	})
}

func TestThinPolicyReplacesAtTheThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &fakeVault{renew: func(string) (int, int) { return 403, 0 }}
		m := &fakeMethod{login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 1000), nil }}
		_, stop := start(t, vault, m, nil)
		time.Sleep(840 * time.Second)
		if m.count() != 1 || vault.count("renew-self") != 1 {
			t.Errorf("at 84 %%: %d logins, %d renewals, want 1 and 1", m.count(), vault.count("renew-self"))
		}
		time.Sleep(20 * time.Second)
		if m.count() != 2 {
			t.Errorf("at 86 %%: %d logins, want 2", m.count())
		}
		_ = stop()
	})
}

func TestTokenKinds(t *testing.T) {
	given := func(data map[string]any) *api.Secret { return &api.Secret{Data: data} }
	uses := service("u", 1000)
	uses.Data = map[string]any{"num_uses": 5}
	tests := map[string]struct {
		answer                   *api.Secret
		logins, renewals, revoke int // within 900 s
	}{
		"service":     {service("s", 1000), 1, 1, 1},
		"root":        {given(map[string]any{"id": "r", "ttl": 0}), 1, 0, 0},
		"given":       {given(map[string]any{"id": "g", "ttl": 1000, "renewable": true}), 1, 1, 0},
		"thin given":  {given(map[string]any{"id": "g"}), 1, 0, 0},
		"batch":       {&api.Secret{Auth: &api.SecretAuth{ClientToken: "hvb.b", LeaseDuration: 1000}}, 2, 0, 0},
		"use-limited": {uses, 2, 0, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vault := &fakeVault{renew: func(string) (int, int) { return 200, 1000 }}
				m := &fakeMethod{login: func(int) (*api.Secret, error) { return tc.answer, nil }}
				s, stop := start(t, vault, m, nil)
				time.Sleep(900 * time.Second)
				_ = stop()
				_ = s.Close(t.Context())
				if m.count() != tc.logins || vault.count("renew-self") != tc.renewals || vault.count("revoke-self") != tc.revoke {
					t.Errorf("%d logins, %d renewals, %d revocations, want %d, %d, %d", m.count(), vault.count("renew-self"),
						vault.count("revoke-self"), tc.logins, tc.renewals, tc.revoke)
				}
			})
		})
	}
}

func TestSinksOncePerTokenAndAgainAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &fakeSink{}, &fakeSink{fail: 2}
		delivered := make(chan uint64, 9)
		m := &fakeMethod{login: func(int) (*api.Secret, error) { return service("one", 1000), nil }}
		vault := &fakeVault{renew: func(string) (int, int) { return 200, 1000 }}
		_, stop := start(t, vault, m, func(c *Config) {
			c.Sinks = []Sink{good, bad}
			c.Trace.OnDelivered = func(e uint64) { delivered <- e }
		})
		time.Sleep(10 * time.Minute)
		if good.tokens() != "one" || bad.tokens() != "one" || len(delivered) != 1 {
			t.Errorf("sinks have %q and %q, %d deliveries, want each once", good.tokens(), bad.tokens(), len(delivered))
		}
		_ = stop()
	})
}

// hungSink never answers the first calls.
type hungSink struct {
	fakeSink
	hang  int
	order func()
}

func (s *hungSink) WriteToken(ctx context.Context, t secret.Token) error {
	if s.hang--; s.hang >= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.order != nil {
		s.order()
	}
	return s.fakeSink.WriteToken(ctx, t)
}

// TestHungSinkDelaysNobody: the others have the token at once, and it has the newest soon
// after it comes back to life.
func TestHungSinkDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, good, first := &hungSink{hang: 3}, &fakeSink{}, &hungSink{}
		first.order = func() {
			if len(good.tokens()) > len(first.tokens()) {
				t.Error("a sink had the token first")
			}
		}
		delivered := make(chan uint64, 9)
		m := &fakeMethod{login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 3600), nil }}
		s, stop := start(t, &fakeVault{}, m, func(c *Config) {
			c.First, c.Sinks = []Sink{first}, []Sink{hung, good}
			c.Trace.OnDelivered = func(e uint64) { delivered <- e }
		})
		time.Sleep(time.Second)
		if first.tokens() != "1" || good.tokens() != "1" || hung.tokens() != "" || len(delivered) != 0 {
			t.Errorf("a second after the login: %q, %q, %q, %d deliveries", first.tokens(), good.tokens(), hung.tokens(), len(delivered))
		}
		time.Sleep(30 * time.Second)
		tok, _ := s.Token()
		s.Invalid(tok)
		time.Sleep(5 * time.Second)
		if good.tokens() != "1 2" {
			t.Errorf("after a second login the other sink has %q", good.tokens())
		}
		time.Sleep(2 * time.Minute)
		if hung.tokens() != "2" || len(delivered) != 1 || <-delivered != 2 {
			t.Errorf("the sink that hung has %q, want the newest alone, delivered once", hung.tokens())
		}
		_ = stop()
	})
}

func TestReauthOnNewCredentials(t *testing.T) {
	for _, reauth := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := &fakeMethod{print: "a", login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 3600), nil }}
			_, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Reauth = reauth })
			time.Sleep(5 * time.Second)
			m.change("b")
			time.Sleep(5 * time.Second)
			if want := map[bool]int{false: 1, true: 2}[reauth]; m.count() != want {
				t.Errorf("reauth %v: %d logins, want %d", reauth, m.count(), want)
			}
			_ = stop()
		})
	}
}

func TestJitterBounds(t *testing.T) {
	for failures := 1; failures < 20; failures++ {
		for _, r := range []float64{0, 0.5, 0.999} {
			if d := jitter(r, time.Second, 5*time.Minute, failures); d < 100*time.Millisecond || d > 5*time.Minute {
				t.Errorf("jitter(%v, failure %d) = %s", r, failures, d)
			}
		}
	}
	if d := jitter(0.999, time.Second, 5*time.Minute, 2); d > 2*time.Second {
		t.Errorf("second failure waits %s, want at most 2 s", d)
	}
}

// staleSink wants the token again when told so.
type staleSink struct {
	fakeSink
	stale bool
}

func (s *staleSink) Stale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.stale
	s.stale = false
	return was
}

// TestStaleSinkIsWrittenAgain: its reader changed its key; the others get nothing.
func TestStaleSinkIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{login: func(int) (*api.Secret, error) { return service("one", 3600), nil }}
		stale, other := &staleSink{}, &fakeSink{}
		_, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Sinks = []Sink{other, stale} })
		time.Sleep(time.Minute)
		stale.mu.Lock()
		stale.stale = true
		stale.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := stale.tokens(); got != "one one" || other.tokens() != "one" {
			t.Errorf("the stale sink has %q, the other %q", got, other.tokens())
		}
		_ = stop()
	})
}

// TestCredentialsThatChangeDuringALogin: a change seen while a login is in flight, which then
// succeeds with the old ones, is no change lost.
func TestCredentialsThatChangeDuringALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{print: "a"}
		m.login = func(n int) (*api.Secret, error) {
			m.mu.Unlock()
			if n == 1 {
				time.Sleep(2 * time.Second)
				m.change("b")
				time.Sleep(5 * time.Second)
			}
			m.mu.Lock()
			return service(string(rune('0'+n)), 3600), nil
		}
		s, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Reauth = true })
		time.Sleep(10 * time.Minute)
		if tok, _ := s.Token(); tok.Epoch != 2 || m.count() != 2 {
			t.Errorf("%d logins, want one with each of the credentials", m.count())
		}
		_ = stop()
	})
}

// TestTheEndDuringARevocation: an old token whose revocation waits for Vault when the session
// ends is revoked by Close.
func TestTheEndDuringARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &fakeVault{revoke: 503}
		m := &fakeMethod{print: "first", login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 3600), nil }}
		s, stop := start(t, vault, m, func(c *Config) { c.Reauth = true })
		time.Sleep(3 * time.Second)
		m.change("again")
		time.Sleep(3 * time.Second)
		s.Retire(2)
		time.Sleep(5 * time.Second)
		if vault.count("revoke-self 1") == 0 || m.count() != 2 {
			t.Fatalf("%d logins, %d revocations were tried", m.count(), vault.count("revoke-self 1"))
		}
		_ = stop()
		vault.mu.Lock()
		vault.revoke, vault.calls = 0, nil
		vault.mu.Unlock()
		if err := s.Close(t.Context()); err != nil || vault.count("revoke-self 1") != 1 || vault.count("revoke-self 2") != 1 {
			t.Errorf("%v: Close revoked %v, want both tokens", err, vault.calls)
		}
	})
}

// badSink fails until it is mended, which it can tell.
type badSink struct {
	mu      sync.Mutex
	tries   int
	mended  bool
	written int
}

func (b *badSink) WriteToken(context.Context, secret.Token) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if !b.mended {
		return errors.New("no key")
	}
	b.written++
	return nil
}

func (b *badSink) Stale() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mended && b.written == 0
}

func TestFailingSinkIsTriedEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &badSink{}
		m := &fakeMethod{login: func(int) (*api.Secret, error) { return service("one", 0), nil }}
		_, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Sinks = []Sink{bad} })
		time.Sleep(10 * time.Minute)
		bad.mu.Lock()
		if bad.tries < 20 || bad.tries > 25 {
			t.Errorf("%d tries in 10 minutes, want one each 30 s", bad.tries)
		}
		bad.mended = true
		bad.mu.Unlock()
		time.Sleep(pollFiles + time.Second)
		bad.mu.Lock()
		if bad.written != 1 {
			t.Errorf("written %d times once it is mended, want 1", bad.written)
		}
		bad.mu.Unlock()
		_ = stop()
	})
}
