package lease

import (
	"testing"
	"time"
)

func TestEndsIn(t *testing.T) {
	l := &lessor{ttl: 100, maxTTL: 150, renewable: true}
	inBubble(t, Config{}, l.serve, func(w *world) {
		expect := func(want time.Duration, ends bool, leases ...string) {
			t.Helper()
			if left, e := w.EndsIn(leases...); e != ends || left != want {
				t.Errorf("EndsIn says %v, %v; want %v, %v", left, e, want, ends)
			}
		}
		w.login(1)
		first := w.get(read("db/creds/app")).LeaseID
		expect(100*time.Second, true, first)
		expect(0, false)
		expect(0, true, first, "db/creds/app/nobodys")
		// Replaced before its maximum: it works beside its successor until its own end.
		pass(140 * time.Second)
		second := w.get(read("db/creds/app")).LeaseID
		if second == first {
			t.Fatal("the lease was not replaced")
		}
		if left, ends := w.EndsIn(first, second); !ends || left.Truncate(time.Second) != 10*time.Second {
			t.Errorf("EndsIn says %v, %v", left, ends)
		}
		pass(11 * time.Second)
		expect(0, true, first)
		// Its token died: so did it.
		w.login(2)
		pass(time.Second)
		third := w.get(read("db/creds/app")).LeaseID
		if left, _ := w.EndsIn(second); left == 0 {
			t.Error("the lease of the login before does not work any more")
		}
		w.mu.Lock()
		w.invalid = 1
		w.mu.Unlock()
		expect(0, true, second)
		expect(99*time.Second, true, third)
	})
}
