package auth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestSetSinks: who stays is not written again, who comes has the token, who goes gets no
// other one, and from then on the token is not revoked.
func TestSetSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMethod{login: func(n int) (*api.Secret, error) { return service(string(rune('0'+n)), 3600), nil }}
		stays, goes, comes := &fakeSink{}, &fakeSink{}, &fakeSink{fail: 1}
		vault := &fakeVault{}
		s, stop := start(t, vault, m, func(c *Config) { c.Sinks = []Sink{goes, stays} })
		time.Sleep(time.Minute)
		if err := s.SetSinks(t.Context(), []Sink{stays, comes}); err != nil {
			t.Fatal(err)
		}
		if stays.tokens() != "1" || goes.tokens() != "1" || comes.tokens() != "1" {
			t.Errorf("after it: %q, %q, %q", stays.tokens(), goes.tokens(), comes.tokens())
		}
		tok, _ := s.Token()
		s.Invalid(tok)
		time.Sleep(time.Minute)
		if stays.tokens() != "1 2" || goes.tokens() != "1" || comes.tokens() != "1 2" {
			t.Errorf("after another login: %q, %q, %q", stays.tokens(), goes.tokens(), comes.tokens())
		}
		if err := s.SetSinks(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		_ = stop()
		if err := s.Close(t.Context()); err != nil || vault.count("revoke-self") != 0 {
			t.Errorf("%d tokens revoked that others have, %v", vault.count("revoke-self"), err)
		}
	})
}

// TestSetSinksWhileOneHangs: one that hung is let go, which is what others waited for;
// one that does not get the token in time is said and served later; before the login
// nobody waits.
func TestSetSinksWhileOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		login := make(chan struct{})
		m := &fakeMethod{login: func(int) (*api.Secret, error) { <-login; return service("one", 3600), nil }}
		hung, late, good := &hungSink{hang: 1000}, &hungSink{hang: 2}, &fakeSink{}
		delivered := make(chan uint64, 9)
		s, stop := start(t, &fakeVault{}, m, func(c *Config) { c.Trace.OnDelivered = func(e uint64) { delivered <- e } })
		if err := s.SetSinks(t.Context(), []Sink{hung, good}); err != nil {
			t.Fatal(err)
		}
		close(login)
		time.Sleep(time.Minute)
		if good.tokens() != "one" || len(delivered) != 0 {
			t.Errorf("while one hangs: %q, %d deliveries", good.tokens(), len(delivered))
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.SetSinks(short, []Sink{good, late}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with one that hangs: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if good.tokens() != "one" || late.tokens() != "one" || hung.tokens() != "" || len(delivered) != 1 {
			t.Errorf("at last: %q, %q, %q, %d deliveries", good.tokens(), late.tokens(), hung.tokens(), len(delivered))
		}
		_ = stop()
	})
}

// TestSetSinksOfAWrappedLogin: the one reader is not another one's.
func TestSetSinksOfAWrappedLogin(t *testing.T) {
	s, err := New(Config{Client: fakeClient(t, &fakeVault{}), Method: &fakeMethod{}, WrapTTL: time.Minute, Sinks: []Sink{&fakeSink{}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetSinks(t.Context(), []Sink{&fakeSink{}}); err == nil {
		t.Error("a wrapped token was given away twice")
	}
}
