package lease

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/envexec/envexec/secret"
)

// standby answers as a standby node that cannot forward.
func standby(path string) reply {
	return reply{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {"http://active.invalid:8200/v1/" + path}}}
}

func TestStandbyRedirects(t *testing.T) {
	write := secret.Request{Op: secret.Write, Path: "ssh/creds/otp", Body: map[string]any{"ip": "127.0.0.1"}}
	for name, tc := range map[string]struct {
		answers []reply
		want    int // requests to the good end
		refused bool
	}{
		"followed":                     {[]reply{standby(write.Path)}, 2, false},
		"twice, then it settles":       {[]reply{standby(write.Path), standby(write.Path)}, 3, false},
		"the active one just died":     {[]reply{standby(write.Path), {err: errors.New("connection refused")}}, 3, false},
		"the active one died later on": {[]reply{standby(write.Path), {err: errors.New("reset"), sent: true}}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			answers := tc.answers
			serve := func(c call) reply {
				if len(answers) > 0 {
					r := answers[0]
					answers = answers[1:]
					return r
				}
				if c.body["ip"] != "127.0.0.1" || c.token != "t1" {
					return refusal(400, "body or token lost on the way")
				}
				return leaseAnswer("x", 3600, false)
			}
			inBubble(t, Config{}, serve, func(w *world) {
				w.login(1)
				_, err := w.w.Get(w.t.Context(), write)
				if tc.refused != errors.Is(err, secret.ErrUncertain) || !tc.refused && err != nil {
					t.Errorf("got %v", err)
				}
				if n := len(w.vault.seen("")); n != tc.want {
					t.Errorf("%d requests, want %d", n, tc.want)
				}
			})
		})
	}
}

func TestSealedAndUninitialisedAreToldPlainly(t *testing.T) {
	for want, rep := range map[string]reply{
		"a: vault is sealed (503)":                   refusal(503, "Vault is sealed"),
		"a: vault is not initialised (501)":          refusal(501),
		"a: vault limits the rate of requests (429)": refusal(429),
	} {
		inBubble(t, Config{}, func(call) reply { return rep }, func(w *world) {
			w.login(1)
			w.w.Want(read("a"))
			pass(time.Second)
			if got := w.Status()[0].Error; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"data":{"a":1},"metadata":{"version":1,"created_time":"x","deletion_time":"","destroyed":false}},"mount_type":"kv"}`,
		`{"lease_id":"x","lease_duration":9223372036854775807,"renewable":true,"data":{}}`,
		`{"data":{"ttl":-1,"rotation_period":1e99}}`,
		`{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}`,
		`{"data":{"secret_id":"","secret_id_ttl":"5"}}`,
		`{"errors":["permission denied","invalid token"]}`,
		`{"wrap_info":{}}`, `null`, `[]`, `{"data":null}`, ``,
	} {
		f.Add(200, seed, uint8(0))
		f.Add(404, seed, uint8(2))
		f.Add(429, seed, uint8(1))
	}
	f.Fuzz(func(t *testing.T, status int, body string, op uint8) {
		status = 200 + abs(status)%400
		v := &fakeVault{t: t, start: time.Now(), serve: func(call) reply { return reply{status: status, body: body} }}
		s, err := New(Config{Client: v.client()})
		if err != nil {
			t.Fatal(err)
		}
		tok := &secret.Token{ID: secret.NewText("t"), Epoch: 1}
		s.token = tok
		w := s.Watch()
		req := secret.Request{Op: secret.Op(op % 3), Path: "a/b"}
		w.Want(req)
		e := s.entries[req.Key()]
		for range 3 { // first answer, the same again, and perhaps a renewal
			s.mu.Lock()
			s.queue.Remove(e)
			fl := s.takeOff(e, s.lanes.enter(false), s.now())
			s.mu.Unlock()
			s.fly(t.Context(), fl)
			s.mu.Lock()
			s.lanes.leave(fl.lane)
			if !fl.renew && e.fetchAt < s.now()+s.cfg.MinBackoff/4 {
				t.Fatal("due at once again")
			}
			if e.value == nil && e.err == nil {
				t.Fatal("neither a value nor an error")
			}
			e.renewAt = min(e.renewAt, s.now())
			if e.value == nil || e.value.LeaseID == "" {
				e.renewAt = never
			}
			s.mu.Unlock()
			_ = s.Status()
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
