package auth

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
)

// shelf keeps records in memory.
type shelf struct {
	mu      sync.Mutex
	records map[string][]byte
}

func (s *shelf) Load() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

func (s *shelf) Save(put map[string][]byte, remove []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string][]byte{}
	}
	maps.Copy(s.records, put)
	for _, name := range remove {
		delete(s.records, name)
	}
	return nil
}

// TestRestartKeepsTheToken goes through what may become of a kept token until the next start.
func TestRestartKeepsTheToken(t *testing.T) {
	alive := func(token string) (int, string) {
		return 200, fmt.Sprintf(`{"data":{"id":%q,"ttl":600,"renewable":true,"type":"service","accessor":"a"}}`, token)
	}
	said := func(status int, text string) func(string) (int, string) {
		return func(string) (int, string) { return status, fmt.Sprintf(`{"errors":[%q]}`, text) }
	}
	silent := 2
	for name, test := range map[string]struct {
		look   func(string) (int, string)
		print  string // of the credentials at the second start
		keep   string // KeepFor at the second start
		away   time.Duration
		logins int
		want   string // tokens of the second life
		looks  int
	}{
		"alive":                   {look: alive, want: "one", logins: 1, looks: 1},
		"thin policy":             {look: said(403, "1 error occurred: permission denied"), want: "one", logins: 1, looks: 1},
		"thin policy, ended":      {look: said(403, "permission denied"), away: 2 * time.Hour, want: "two", logins: 2, looks: 1},
		"dead":                    {look: said(403, "2 errors occurred: permission denied; invalid token"), want: "two", logins: 2, looks: 1},
		"refused":                 {look: said(400, "bad request"), want: "two", logins: 2, looks: 1},
		"other credentials":       {look: alive, print: "other", want: "two", logins: 2},
		"no credentials any more": {look: alive, print: "-", want: "one", logins: 1, looks: 1},
		"other settings":          {look: alive, keep: "role two", want: "two", logins: 2},
		"silent at first": {look: func(token string) (int, string) {
			if silent--; silent >= 0 {
				return 503, `{"errors":["Vault is sealed"]}`
			}
			return alive(token)
		}, want: "one", logins: 1, looks: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &fakeMethod{print: "creds", login: func(n int) (*api.Secret, error) { return service([]string{"one", "two"}[n-1], 3600), nil }}
				records := &shelf{}
				configure := func(c *Config) { c.Keep, c.KeepFor, c.Revoke, c.Reauth = records, "role one", false, true }
				_, stop := start(t, &fakeVault{}, m, configure)
				synctest.Wait()
				if err := stop(); err != nil {
					t.Fatal(err)
				}

				time.Sleep(test.away)
				switch test.print {
				case "":
				case "-": // a file that was removed after reading
					m.change("")
				default:
					m.change(test.print)
				}
				vault, sink := &fakeVault{look: test.look}, &fakeSink{}
				s, stop := start(t, vault, m, func(c *Config) {
					configure(c)
					c.Sinks = []Sink{sink}
					if test.keep != "" {
						c.KeepFor = test.keep
					}
				})
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if got := sink.tokens(); got != test.want || m.count() != test.logins || vault.count("lookup-self") != test.looks {
					t.Errorf("tokens %q after %d logins and %d lookups, want %q after %d and %d", got, m.count(), vault.count("lookup-self"), test.want, test.logins, test.looks)
				}
				if tok, _ := s.Token(); !tok.Own || tok.TTL == 0 {
					t.Errorf("token %+v, want our own with a TTL", tok)
				}
				_ = stop()
			})
		})
	}
}

// TestWhatIsNotKept: a token that was given, one of few uses, and one that was revoked.
func TestWhatIsNotKept(t *testing.T) {
	for name, answer := range map[string]*api.Secret{
		"given":    {Data: map[string]any{"id": "one", "ttl": 600}},
		"few uses": {Auth: &api.SecretAuth{ClientToken: "one", LeaseDuration: 600}, Data: map[string]any{"num_uses": 3}},
		"wrapped":  {WrapInfo: &api.SecretWrapInfo{Token: "one", TTL: 600}},
		"revoked":  service("one", 600),
		"left":     service("one", 600),
	} {
		synctest.Test(t, func(t *testing.T) {
			records := &shelf{}
			vault := &fakeVault{}
			s, stop := start(t, vault, &fakeMethod{login: func(int) (*api.Secret, error) { return answer, nil }}, func(c *Config) {
				c.Keep, c.Leave = records, name == "left"
				if name == "wrapped" {
					c.WrapTTL, c.Sinks = time.Minute, []Sink{&fakeSink{}}
				}
			})
			synctest.Wait()
			if kept := len(records.Load()) > 0; kept != (name == "revoked" || name == "left") {
				t.Errorf("%s: kept %v while running", name, kept)
			}
			_ = stop()
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if kept := len(records.Load()) > 0; kept != (name == "left") || vault.count("revoke-self") > 0 != (name == "revoked" || name == "few uses") {
				t.Errorf("%s: after the end kept %v, revoked %d times", name, kept, vault.count("revoke-self"))
			}
		})
	}
}
