package lease

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// lessor is a fake database engine: leases of ttl seconds, renewable up to maxTTL.
type lessor struct {
	ttl, maxTTL int
	renewable   bool
	issued      map[string]time.Duration
	down        bool
	count       int
}

func (l *lessor) serve(c call) reply {
	switch {
	case l.down:
		return reply{err: fmt.Errorf("connection refused")}
	case c.path == "sys/leases/renew":
		id, _ := c.body["lease_id"].(string)
		born, ok := l.issued[id]
		age := int((c.at - born) / time.Second)
		if !ok || age >= l.maxTTL {
			return refusal(400, "lease not found")
		}
		if !l.renewable {
			return refusal(400, "lease is not renewable")
		}
		return leaseAnswer(id, min(l.ttl, l.maxTTL-age), true)
	}
	if l.issued == nil {
		l.issued = map[string]time.Duration{}
	}
	l.count++
	id := fmt.Sprintf("%s/%s/%d", c.path, c.token, l.count)
	l.issued[id] = c.at
	return leaseAnswer(id, l.ttl, l.renewable)
}

func TestLeaseIsRenewedAndReplacedBeforeMaxTTL(t *testing.T) {
	l := &lessor{ttl: 3600, maxTTL: 3 * 3600, renewable: true}
	inBubble(t, Config{}, l.serve, func(w *world) {
		w.login(1)
		first := w.get(read("db/creds/app"))
		w.fired()
		w.w.Take()
		pass(2*time.Hour - time.Minute)
		if n := len(w.vault.seen("sys/leases/renew")); n != 2 {
			t.Fatalf("%d renewals in two hours, want 2", n)
		}
		if w.fired() || len(w.vault.seen("db/")) != 1 {
			t.Fatal("a renewal is no change")
		}
		pass(time.Hour)
		second := w.get(read("db/creds/app"))
		if second.LeaseID == first.LeaseID || !w.fired() {
			t.Fatal("lease was not replaced before its max TTL")
		}
		if at := w.vault.seen("db/")[1].at; at < 9*time.Hour*3/10 || at > 3*time.Hour-time.Minute {
			t.Errorf("replaced at %v of 3h", at)
		}
	})
}

func TestLeaseThatCannotBeRenewedIsReplacedAtTheThreshold(t *testing.T) {
	for name, l := range map[string]*lessor{
		"said by the answer":  {ttl: 1000, maxTTL: 1000},
		"said by the renewal": {ttl: 1000, maxTTL: 1000, renewable: true},
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(c call) reply {
				if c.path == "sys/leases/renew" {
					return refusal(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
				}
				return l.serve(c)
			}
			inBubble(t, Config{RenewalThreshold: 0.8}, serve, func(w *world) {
				w.login(1)
				w.get(read("db/creds/app"))
				pass(4500 * time.Second)
				calls := w.vault.seen("db/")
				if len(calls) != 6 {
					t.Fatalf("%d leases in 4500 s", len(calls))
				}
				for i := 1; i < len(calls); i++ {
					if gap := calls[i].at - calls[i-1].at; gap != 800*time.Second {
						t.Errorf("gap %v", gap)
					}
				}
			})
		})
	}
}

func TestLostLeaseIsFetchedAnewAtOnce(t *testing.T) {
	l := &lessor{ttl: 900, maxTTL: 90000, renewable: true}
	inBubble(t, Config{}, l.serve, func(w *world) {
		w.login(1)
		w.get(read("db/creds/app"))
		pass(time.Minute)
		w.vault.mu.Lock()
		clear(l.issued)
		w.vault.mu.Unlock()
		pass(10 * time.Minute)
		if n, m := len(w.vault.seen("sys/leases/renew")), len(w.vault.seen("db/")); n != 1 || m != 2 {
			t.Errorf("%d renewals, %d fetches", n, m)
		}
	})
}

func TestOutageOfTwoMinutesChangesNothing(t *testing.T) {
	l := &lessor{ttl: 600, maxTTL: 90000, renewable: true}
	inBubble(t, Config{random: func() float64 { return 0.5 }}, l.serve, func(w *world) {
		set := func(down bool) { w.vault.mu.Lock(); l.down = down; w.vault.mu.Unlock() }
		w.login(1)
		first := w.get(read("db/creds/app"))
		w.fired()
		pass(380 * time.Second)
		set(true)
		pass(2 * time.Minute)
		if st := w.Status()[0]; st.Error == "" || !st.Known {
			t.Errorf("status in the outage: %+v", st)
		}
		set(false)
		pass(30 * time.Second)
		if now := w.get(read("db/creds/app")); now.LeaseID != first.LeaseID || w.fired() {
			t.Error("the lease was replaced though it lives")
		}
		if st := w.Status()[0]; st.Error != "" || st.Failures != 0 {
			t.Errorf("status after it: %+v", st)
		}
		pass(10 * time.Minute)
		if n := len(w.vault.seen("db/")); n != 1 {
			t.Errorf("%d fetches, the renewal after the outage was enough", n)
		}
	})
}

func TestLeaseThatDiedInAnOutageIsFetchedAnew(t *testing.T) {
	l := &lessor{ttl: 60, maxTTL: 90000, renewable: true}
	inBubble(t, Config{random: func() float64 { return 0.5 }}, l.serve, func(w *world) {
		w.login(1)
		first := w.get(read("db/creds/app"))
		w.fired()
		w.vault.mu.Lock()
		l.down = true
		w.vault.mu.Unlock()
		pass(10 * time.Minute)
		if n := len(w.vault.seen("")); n > 60 {
			t.Errorf("%d requests in ten minutes of outage", n)
		}
		w.vault.mu.Lock()
		l.down = false
		clear(l.issued)
		w.vault.mu.Unlock()
		pass(time.Minute)
		if now := w.get(read("db/creds/app")); now.LeaseID == first.LeaseID || !w.fired() {
			t.Error("still the dead lease")
		}
	})
}

func TestRotatedPasswordIsReadAfterItsTTLAndAgainWhileUnchanged(t *testing.T) {
	const period = 600
	serve := func(c call) reply {
		at := int(c.at / time.Second)
		// Vault rolls the TTL over at each period but changes the password 5 s later.
		return reply{status: 200, body: map[string]any{"data": map[string]any{
			"username": "app", "password": fmt.Sprint("p", (at-5+period)/period), "rotation_period": period,
			"ttl": period - at%period, "last_vault_rotation": fmt.Sprint(at / period),
		}}}
	}
	inBubble(t, Config{}, serve, func(w *world) {
		pass(100 * time.Second)
		w.login(1)
		if got := w.get(read("db/static-creds/app")).Values()["password"]; got != "p1" {
			t.Fatal(got)
		}
		w.fired()
		pass(499 * time.Second)
		if n := len(w.vault.seen("db/")); n != 1 {
			t.Fatalf("%d reads before the rotation", n)
		}
		pass(20 * time.Second)
		if got := w.get(read("db/static-creds/app")).Values()["password"]; got != "p2" || !w.fired() {
			t.Errorf("20 s after the rotation: %v", got)
		}
		n := len(w.vault.seen("db/"))
		pass(560 * time.Second)
		if m := len(w.vault.seen("db/")); m != n || w.fired() {
			t.Errorf("%d reads between rotations", m-n)
		}
	})
}

// certificate returns a self-signed one in PEM.
func certificate(t testing.TB, from, until time.Time) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCertificateIsReplacedByItsNotAfterOnTheServersClock(t *testing.T) {
	const skew = 17 * time.Hour // the server's clock is ahead of ours
	for name, tc := range map[string]struct {
		cfg  Config
		want time.Duration
	}{
		"threshold":         {Config{}, 90 * time.Hour},
		"minimum remaining": {Config{CertMinRemaining: 30 * time.Hour}, 70 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(call) reply {
				server := time.Now().Add(skew).UTC()
				return reply{
					status: 200, header: http.Header{"Date": {server.Format(http.TimeFormat)}},
					body: map[string]any{"data": map[string]any{"certificate": certificate(t, server.Truncate(time.Second), server.Add(100*time.Hour))}},
				}
			}
			inBubble(t, tc.cfg, serve, func(w *world) {
				w.login(1)
				req := secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "a"}}
				if s := w.get(req); s.Epoch != 0 {
					t.Error("a certificate does not die with a token")
				}
				w.login(2)
				pass(tc.want - time.Minute)
				if n := len(w.vault.seen("pki")); n != 1 {
					t.Fatalf("issued %d times too early", n)
				}
				pass(2 * time.Minute)
				if n := len(w.vault.seen("pki")); n != 2 {
					t.Errorf("issued %d times", n)
				}
			})
		})
	}
}

func TestMinIntervalFloorsEveryTTL(t *testing.T) {
	for name, rep := range map[string]reply{
		"short lease":         leaseAnswer("x", 1, false),
		"short renewable":     leaseAnswer("x", 1, true),
		"expired certificate": {status: 200, body: map[string]any{"data": map[string]any{"certificate": certificate(t, time.Unix(0, 0), time.Unix(1, 0))}}},
		"ttl zero":            {status: 200, body: map[string]any{"data": map[string]any{"ttl": 0, "rotation_period": 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{MinInterval: 10 * time.Second}, func(call) reply { return rep }, func(w *world) {
				w.login(1)
				w.get(secret.Request{Op: secret.Write, Path: "x/y"})
				w.get(read("x/y"))
				pass(10 * time.Minute)
				if n := len(w.vault.seen("x/y")); n > 122 {
					t.Errorf("%d fetches of two secrets in 10 minutes", n)
				}
			})
		})
	}
}

func TestWriteWithoutAnEndIsDoneOnce(t *testing.T) {
	inBubble(t, Config{}, func(call) reply { return reply{status: 204} }, func(w *world) {
		w.login(1)
		w.get(secret.Request{Op: secret.Write, Path: "x/y"})
		w.Refresh()
		w.login(2)
		pass(100 * time.Hour)
		if n := len(w.vault.seen("")); n != 1 {
			t.Errorf("written %d times", n)
		}
	})
}

func TestSuspendIsNoticedWithin30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, slept := time.Now(), time.Duration(0)
		v := &fakeVault{t: t, start: start, serve: func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }}
		cfg := Config{Client: v.client(), StaticInterval: time.Hour, random: func() float64 { return 0 }}
		cfg.clock = func() time.Duration { v.mu.Lock(); defer v.mu.Unlock(); return time.Since(start) + slept }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Run(t.Context()) }()
		_ = s.WriteToken(t.Context(), secret.Token{Epoch: 1})
		s.Watch().Want(read("secret/data/a"))
		pass(time.Minute)
		v.mu.Lock()
		slept = 2 * time.Hour // timers stood still, the clock did not
		v.mu.Unlock()
		pass(30 * time.Second)
		if n := len(v.seen("")); n != 2 {
			t.Errorf("%d reads after the machine woke up", n)
		}
	})
}

func TestDyingLeaseIsTriedForMoreOften(t *testing.T) {
	l := &lessor{ttl: 600, maxTTL: 600}
	inBubble(t, Config{random: func() float64 { return 0.999 }}, l.serve, func(w *world) {
		w.login(1)
		w.get(read("db/creds/app"))
		w.vault.mu.Lock()
		l.down = true
		w.vault.mu.Unlock()
		pass(599 * time.Second)
		calls := w.vault.seen("db/")
		if last := calls[len(calls)-1].at; last < 590*time.Second {
			t.Errorf("last tried at %v of a life of 10m", last)
		}
	})
}

func TestRenewalsKeepTheMinimumInterval(t *testing.T) {
	l := &lessor{ttl: 3, maxTTL: 90000, renewable: true}
	inBubble(t, Config{MinInterval: 10 * time.Second}, func(c call) reply {
		if c.path == "sys/leases/renew" {
			return leaseAnswer("x", 3, true)
		}
		return l.serve(c)
	}, func(w *world) {
		w.login(1)
		w.get(read("db/creds/app"))
		pass(10 * time.Minute)
		if n := len(w.vault.seen("")); n > 63 {
			t.Errorf("%d requests in 10 minutes", n)
		}
	})
}

func TestOverdueRotationIsAskedForEverMoreSlowly(t *testing.T) {
	serve := func(call) reply {
		return reply{status: 200, body: map[string]any{"data": map[string]any{"password": "p", "rotation_period": 60, "ttl": 0}}}
	}
	inBubble(t, Config{random: func() float64 { return 0.5 }}, serve, func(w *world) {
		w.login(1)
		w.get(read("db/static-creds/app"))
		pass(time.Hour)
		if n := len(w.vault.seen("db/")); n < 60 || n > 140 {
			t.Errorf("%d reads in an hour of an overdue rotation", n)
		}
	})
}
