package auth

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

// limited logs in for tokens of so many uses.
func limited(uses int) *fakeMethod {
	return &fakeMethod{login: func(n int) (*api.Secret, error) {
		s := service(fmt.Sprintf("token-%d", n), 1000)
		s.Data = map[string]any{"num_uses": uses}
		return s, nil
	}}
}

// use makes n requests with the newest token that Vault answers with status.
func use(s *Session, n, status int) {
	t, _ := s.Token()
	for range n {
		s.Used(t, status)
	}
	synctest.Wait()
}

func TestLastUseLogsInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := limited(3)
		s, stop := start(t, &fakeVault{}, m, nil)
		synctest.Wait()
		for _, free := range []int{http.StatusTemporaryRedirect, http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			use(s, 3, free)
		}
		use(s, 2, http.StatusOK)
		if m.count() != 1 {
			t.Fatalf("%d logins while a use is left, want 1", m.count())
		}
		for want := 2; want <= spentAtOnce+1; want++ { // no time passes
			use(s, 3, http.StatusNotFound)
			if m.count() != want {
				t.Fatalf("%d logins after the last use, want %d", m.count(), want)
			}
		}
		use(s, 3, http.StatusOK) // this goes round: it is slowed down
		if m.count() != spentAtOnce+1 {
			t.Errorf("%d logins without a pause, want %d", m.count(), spentAtOnce+1)
		}
		time.Sleep(s.cfg.StartBackoff)
		if m.count() != spentAtOnce+2 {
			t.Errorf("%d logins after a pause, want %d", m.count(), spentAtOnce+2)
		}
		_ = stop()
	})
}

// Requests in flight together come back in any order, the refused ones first.
func TestSpentTokenCalledInvalidBesides(t *testing.T) {
	for name, report := range map[string]func(*Session, secret.Token){
		"before": func(s *Session, tok secret.Token) {
			s.Used(tok, http.StatusForbidden)
			s.Invalid(tok)
			synctest.Wait()
			s.Used(tok, http.StatusOK)
		},
		"after": func(s *Session, tok secret.Token) {
			s.Used(tok, http.StatusOK)
			s.Used(tok, http.StatusForbidden)
			s.Invalid(tok)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := limited(2)
				s, stop := start(t, &fakeVault{}, m, nil)
				synctest.Wait()
				tok, _ := s.Token()
				report(s, tok)
				synctest.Wait()
				if m.count() != 2 {
					t.Errorf("%d logins at once, want 2", m.count())
				}
				time.Sleep(time.Minute)
				if m.count() != 2 {
					t.Errorf("%d logins in the end, want 2", m.count())
				}
				_ = stop()
			})
		})
	}
}

func TestOthersUsesHealByInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := limited(5)
		s, stop := start(t, &fakeVault{}, m, nil)
		time.Sleep(quickDeath)
		tok, _ := s.Token()
		use(s, 1, http.StatusForbidden)
		s.Invalid(tok)
		synctest.Wait()
		if m.count() != 2 {
			t.Errorf("%d logins, want 2", m.count())
		}
		_ = stop()
	})
}

func TestSpentCredentialIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := limited(1)
		first := m.login
		m.login = func(n int) (*api.Secret, error) {
			if n > 1 {
				return nil, refusal(http.StatusBadRequest, "invalid secret id")
			}
			return first(n)
		}
		s, stop := start(t, &fakeVault{}, m, nil)
		synctest.Wait()
		use(s, 1, http.StatusOK)
		use(s, 1, http.StatusForbidden)
		time.Sleep(minDenied - time.Second)
		if m.count() != 2 || s.LastError() == nil {
			t.Errorf("%d logins, last error %v, want 2 and a denial", m.count(), s.LastError())
		}
		if err := stop(); err != nil {
			t.Errorf("a running session ended: %v", err)
		}
	})
}
