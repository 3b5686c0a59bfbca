package auth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestBrokenTokenAfterADenialWaits: the token's end after a denied attempt is no reason to try the same credentials again.
func TestBrokenTokenAfterADenialWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{print: "same", login: func(n int) (*api.Secret, error) {
			if n == 1 {
				return service("one", 600), nil
			}
			return nil, refusal(400, "invalid secret id")
		}}
		s, stop := start(t, &fakeVault{renew: func(string) (int, int) { return 403, 0 }}, m, nil)
		time.Sleep(9 * time.Minute) // replaced at 8.5 min: denied
		tok, _ := s.Token()
		s.Invalid(tok)
		time.Sleep(10 * time.Minute)
		if m.count() != 2 {
			t.Errorf("%d logins within 10 min of a denied one, want 2", m.count())
		}
		_ = stop()
	})
}

// hanging is a method whose service, asked what the credentials are, does not answer.
type hanging struct{ fakeMethod }

func (h *hanging) Fingerprint(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// TestHangingCredentials: a metadata service that never answers ends neither the logins nor the stop.
func TestHangingCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &hanging{fakeMethod{login: func(int) (*api.Secret, error) { return nil, context.DeadlineExceeded }}}
		began := time.Now()
		s, err := New(Config{
			Client: fakeClient(t, &fakeVault{}), Method: m, RequestTimeout: 5 * time.Second,
			now: func() time.Duration { return time.Since(began) + time.Hour },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(5 * time.Minute)
		if n := m.count(); n < 10 {
			t.Errorf("%d logins in 5 min, want one every 15 s at least", n)
		}
		if s.LastError() == nil {
			t.Error("the cause is not readable")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestForeignAnswersHeal: a 404 or 403 that is not Vault's comes from something in between,
// which may be Vault's own proxy coming up: it denies nothing.
func TestForeignAnswersHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{login: func(n int) (*api.Secret, error) {
			if n == 1 || n == 3 {
				return nil, &api.ResponseError{StatusCode: []int{404, 403}[n/3], RawError: true, Errors: []string{"<html>default backend</html>"}}
			}
			return service(string(rune('0'+n)), 600), nil
		}}
		s, stop := start(t, &fakeVault{renew: func(string) (int, int) { return 403, 0 }}, m, nil)
		time.Sleep(9 * time.Minute)
		if tok, _ := s.Token(); tok.Epoch != 2 {
			t.Errorf("epoch %d after %d logins, %v", tok.Epoch, m.count(), s.LastError())
		}
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestExitOnErr: what ends Run before the first login, and nothing after it.
func TestExitOnErr(t *testing.T) {
	fault, no := errors.New("connection refused"), refusal(400, "invalid role")
	for name, test := range map[string]struct {
		exit  Exit
		err   error
		first bool // the first login succeeds
		ends  bool
		tries int // in 30 min, at least
	}{
		"unset, denied":       {exit: ExitDenied, err: no, ends: true},
		"unset, fault":        {exit: ExitDenied, err: fault, tries: 100},
		"false, denied":       {exit: ExitNever, err: no, tries: 2},
		"false, fault":        {exit: ExitNever, err: fault, tries: 100},
		"true, denied":        {exit: ExitAlways, err: no, ends: true},
		"true, fault":         {exit: ExitAlways, err: fault, ends: true},
		"true, denied later":  {exit: ExitAlways, err: no, first: true, tries: 2},
		"true, faults later":  {exit: ExitAlways, err: fault, first: true, tries: 3},
		"unset, denied later": {exit: ExitDenied, err: no, first: true, tries: 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &fakeMethod{login: func(n int) (*api.Secret, error) {
				if test.first && n == 1 {
					return service("one", 60), nil
				}
				return nil, test.err
			}}
			_, stop := start(t, &fakeVault{renew: func(string) (int, int) { return 403, 0 }}, m, func(c *Config) { c.ExitOnErr = test.exit })
			time.Sleep(30 * time.Minute)
			if err := stop(); (err != nil) != test.ends || test.ends && !errors.Is(err, test.err) {
				t.Errorf("%s: Run: %v, want an end: %v", name, err, test.ends)
			}
			if n := m.count(); n < test.tries || test.ends && n != 1 {
				t.Errorf("%s: %d logins", name, n)
			}
		})
	}
}
