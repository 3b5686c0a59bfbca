package lease

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

func TestNewLoginMovesLeasesOnlyAndKeepsTheOldAlive(t *testing.T) {
	l := &lessor{ttl: 600, maxTTL: 90000, renewable: true}
	serve := func(c call) reply {
		if c.path == "secret/data/a" {
			return kv2Answer(1, map[string]any{"k": "v"})
		}
		return l.serve(c)
	}
	inBubble(t, Config{}, serve, func(w *world) {
		if w.w.Epoch() != 0 {
			t.Error("epoch before the first login")
		}
		w.login(1)
		if !w.fired() || w.w.Epoch() != 1 {
			t.Error("the first login was not told")
		}
		w.get(read("secret/data/a"))
		old := w.get(read("db/creds/app"))
		w.fired()
		w.w.Take()
		w.login(2)
		synctest.Wait()
		now := w.get(read("db/creds/app"))
		if now.LeaseID == old.LeaseID || now.Epoch != 2 || w.w.Epoch() != 2 || !w.fired() {
			t.Fatalf("lease %q epoch %d, reader's epoch %d", now.LeaseID, now.Epoch, w.w.Epoch())
		}
		if keys := w.w.Take(); len(keys) != 1 || keys[0] != read("db/creds/app").Key() {
			t.Errorf("changed: %d keys", len(keys))
		}
		if n := len(w.vault.seen("secret")); n != 1 {
			t.Errorf("static secret was read %d times", n)
		}
		pass(time.Hour)
		byToken := map[string]int{}
		for _, c := range w.vault.seen("sys/leases/renew") {
			byToken[c.token]++
			if id := c.body["lease_id"]; (id == old.LeaseID) != (c.token == "t1") {
				t.Fatalf("lease %v renewed with token %s", id, c.token)
			}
		}
		if byToken["t1"] < 8 || byToken["t2"] < 8 {
			t.Errorf("renewals: %v", byToken)
		}
		w.Retire(2)
		before := len(w.vault.seen("sys/leases/renew"))
		pass(20 * time.Minute)
		if n := len(w.vault.seen("sys/leases/renew")) - before; n != 3 {
			t.Errorf("%d renewals after Retire, want 3 of the new lease", n)
		}
	})
}

func TestEpochFollowsTheOldestLease(t *testing.T) {
	deny := false
	l := &lessor{ttl: 600, maxTTL: 90000, renewable: true}
	serve := func(c call) reply {
		if deny && c.path == "db/creds/b" {
			return refusal(http.StatusInternalServerError, "no")
		}
		return l.serve(c)
	}
	inBubble(t, Config{random: func() float64 { return 0.5 }}, serve, func(w *world) {
		w.login(1)
		w.get(read("db/creds/a"))
		b := w.get(read("db/creds/b"))
		w.vault.mu.Lock()
		deny = true
		w.vault.mu.Unlock()
		w.login(2)
		pass(time.Hour)
		if w.w.Epoch() != 1 {
			t.Error("epoch moved though b still hangs on the first login")
		}
		if got := w.get(read("db/creds/b")); got.LeaseID != b.LeaseID {
			t.Error("b's value was taken back")
		}
		w.fired()
		w.w.Release(read("db/creds/b").Key())
		if w.w.Epoch() != 2 || !w.fired() {
			t.Error("epoch did not move with the release")
		}
	})
}

func TestOnlyTokenChangedMovesTheEpochAlone(t *testing.T) {
	inBubble(t, Config{}, func(call) reply { return kv2Answer(1, map[string]any{"k": "v"}) }, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.fired()
		w.w.Take()
		w.login(2)
		if !w.fired() || w.w.Epoch() != 2 || len(w.w.Take()) != 0 {
			t.Error("want a signal, the new epoch and no changed key")
		}
		w.login(2)
		if w.fired() {
			t.Error("the same login was told twice")
		}
		w.login(1)
		w.get(read("secret/data/b"))
		if c := w.vault.seen("secret/data/b")[0]; c.token != "t2" {
			t.Errorf("read with %s: an older login came back", c.token)
		}
	})
}

func TestInvalidTokenIsReportedOnceAndTheNextUsed(t *testing.T) {
	serve := func(c call) reply {
		if c.token == "t1" && c.at > time.Minute {
			return refusal(http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		}
		return kv2Answer(1, map[string]any{"k": "v", "path": c.path})
	}
	inBubble(t, Config{StaticInterval: 50 * time.Second}, serve, func(w *world) {
		w.login(1)
		for _, p := range []string{"secret/data/a", "secret/data/b", "secret/data/c"} {
			w.get(read(p))
		}
		pass(110 * time.Second)
		if len(w.bad) != 1 || w.bad[0].Epoch != 1 {
			t.Fatalf("reported %d times", len(w.bad))
		}
		before := len(w.vault.seen(""))
		w.login(2)
		synctest.Wait()
		if n := len(w.vault.seen("")) - before; n != 3 {
			t.Errorf("%d reads with the new token, want 3", n)
		}
	})
}

func TestFreshTokenUnknownToAStandbyIsTriedAgain(t *testing.T) {
	serve := func(c call) reply {
		if c.at < time.Second {
			return refusal(http.StatusForbidden, "permission denied", "invalid token")
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		if len(w.bad) != 0 {
			t.Error("reported as invalid")
		}
	})
}

func TestRefreshedLeaseOutlivesItsSuccessorForAWhile(t *testing.T) {
	l := &lessor{ttl: 60, maxTTL: 90000, renewable: true}
	inBubble(t, Config{OverlapLimit: 5 * time.Minute}, l.serve, func(w *world) {
		w.login(1)
		old := w.get(read("db/creds/app"))
		w.Refresh(read("db/creds/app").Key())
		pass(20 * time.Minute)
		var last time.Duration
		for _, c := range w.vault.seen("sys/leases/renew") {
			if c.body["lease_id"] == old.LeaseID {
				last = c.at
			}
		}
		if last < 4*time.Minute || last > 5*time.Minute {
			t.Errorf("the replaced lease was last renewed at %v", last)
		}
	})
}

func TestTokenDuringFlightFetchesTheLeaseAgain(t *testing.T) {
	l := &lessor{ttl: 600, maxTTL: 90000, renewable: true}
	serve := func(c call) reply {
		r := l.serve(c)
		r.delay = time.Second
		return r
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.w.Want(read("db/creds/app"))
		pass(500 * time.Millisecond)
		w.login(2)
		pass(5 * time.Second)
		if got := w.get(read("db/creds/app")); got.Epoch != 2 {
			t.Errorf("epoch %d", got.Epoch)
		}
	})
}

func TestTokenNeverShowsInErrors(t *testing.T) {
	inBubble(t, Config{}, func(call) reply { return refusal(http.StatusForbidden, "permission denied") }, func(w *world) {
		_ = w.WriteToken(w.t.Context(), secret.Token{ID: secret.NewText("hvs.canary"), Epoch: 1})
		_, err := w.w.Get(w.t.Context(), secret.Request{Op: secret.Write, Path: "x", Body: map[string]any{"p": "hvs.canary"}})
		if err == nil || contains(err.Error(), "canary") {
			t.Errorf("%v", err)
		}
	})
}

func TestRefreshAllReturnsWhenAllWasReadAgain(t *testing.T) {
	failing := 0
	serve := func(c call) reply {
		if failing > 0 && c.path == "secret/data/b" {
			failing--
			return refusal(http.StatusInternalServerError, "no")
		}
		return kv2Answer(1, map[string]any{"k": "v"})
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.get(read("secret/data/b"))
		w.vault.mu.Lock()
		failing = 2
		w.vault.mu.Unlock()
		if err := w.RefreshAll(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		if a, b := len(w.vault.seen("secret/data/a")), len(w.vault.seen("secret/data/b")); a != 2 || b != 4 {
			t.Errorf("a was read %d times, b %d times; want 2 and 4", a, b)
		}
	})
}

func TestFreezeKeepsLeasesAliveAndReadsNothingAgain(t *testing.T) {
	l := &lessor{ttl: 3600, maxTTL: 3 * 3600, renewable: true}
	inBubble(t, Config{}, func(c call) reply {
		if c.path == "kv/app" {
			return reply{status: 200, body: `{"data":{"a":"1"},"mount_type":"kv"}`}
		}
		return l.serve(c)
	}, func(w *world) {
		w.login(1)
		w.get(read("db/creds/app"))
		w.get(read("kv/app"))
		w.Freeze()
		pass(4 * time.Hour)
		w.login(2)
		pass(time.Hour)
		if n := len(w.vault.seen("kv/app")); n != 1 {
			t.Errorf("static secret read %d times", n)
		}
		if n := len(w.vault.seen("db/creds")); n != 1 {
			t.Errorf("%d leases taken", n)
		}
		if n := len(w.vault.seen("sys/leases/renew")); n < 3 {
			t.Errorf("lease renewed %d times only", n)
		}
	})
}

func TestAnUnwrappedSecretIsReadOnceAndForAll(t *testing.T) {
	for name, body := range map[string]string{
		"kv 2":  `{"data":{"data":{"password":"x"},"metadata":{"version":3,"created_time":"t"}},"mount_type":"kv"}`,
		"lease": `{"lease_id":"db/creds/x/1","lease_duration":60,"renewable":true,"data":{"password":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(call) reply { return reply{status: 200, body: body} }, func(w *world) {
				w.login(1)
				s := w.get(secret.Request{Op: secret.Write, Path: "sys/wrapping/unwrap", Body: map[string]any{"token": "hvs.x"}})
				if got := s.Values()["password"]; got != "x" {
					t.Errorf("password %v", got)
				}
				pass(time.Hour)
				w.login(2)
				pass(24 * time.Hour)
				if n := len(w.vault.seen("")); n != 1 {
					t.Errorf("%d requests: %v", n, w.vault.seen(""))
				}
			})
		})
	}
}
