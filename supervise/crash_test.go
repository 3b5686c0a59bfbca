package supervise

import (
	"syscall"
	"testing"
	"time"
)

// TestRestartConditions is systemd's table.
func TestRestartConditions(t *testing.T) {
	ends := []struct {
		name     string
		status   Status
		timedOut bool
		again    string // the conditions that start again
	}{
		{"0", Status{}, false, "always"},
		{"1", Status{Code: 1}, false, "always on-failure"},
		{"TERM", Status{Signal: syscall.SIGTERM}, false, "always"},
		{"SEGV", Status{Signal: syscall.SIGSEGV}, false, "always on-failure on-abnormal"},
		{"timeout", Status{Signal: syscall.SIGKILL}, true, "always on-failure on-abnormal"},
	}
	for _, e := range ends {
		for _, when := range []When{Never, OnFailure, OnAbnormal, Always} {
			c := Crash{Restart: when}
			if got, want := c.again(e.status, e.timedOut), contains(e.again, when.String()); got != want {
				t.Errorf("%s after %s: start again = %v, want %v", when, e.name, got, want)
			}
		}
	}
	c := Crash{Restart: OnFailure, Success: []Status{{Code: 3}}, Prevent: []Status{{Code: 4}}, Force: []Status{{Code: 0}}}
	for code, want := range map[int]bool{0: true, 1: true, 3: false, 4: false} {
		if got := c.again(Status{Code: code}, false); got != want {
			t.Errorf("exit %d: start again = %v, want %v", code, got, want)
		}
	}
}

func contains(words, word string) bool {
	for len(words) > 0 {
		n := 0
		for n < len(words) && words[n] != ' ' {
			n++
		}
		if words[:n] == word {
			return true
		}
		words = words[min(n+1, len(words)):]
	}
	return false
}

func TestBackoffIsFullJitterBelowACap(t *testing.T) {
	c := Crash{}
	c.fill()
	for attempt, limit := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		if got := c.delay(attempt, 0); got != minBackoff {
			t.Errorf("attempt %d: at least %v", attempt, got)
		}
		if got := c.delay(attempt, 0.999999); got > limit || got < limit-time.Second/10 {
			t.Errorf("attempt %d: at most %v, want about %v", attempt, got, limit)
		}
	}
	if got := c.delay(1000, 0.5); got != 30*time.Second {
		t.Errorf("attempt 1000: %v", got)
	}
}

func crashing(t *testing.T, adjust func(*Config)) *rig {
	t.Helper()
	return newRig(t, func(c *Config) {
		c.Crash.Restart = Always
		if adjust != nil {
			adjust(c)
		}
	})
}

func TestCrashBackoffGrowsAndResets(t *testing.T) {
	r := crashing(t, nil).up()
	for i, delay := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
		child := uint64(i + 1)
		r.send(exitEv(child, failed), goneEv(child)).in(backoff)
		r.after(delay - time.Millisecond).in(backoff)
		r.after(time.Millisecond).in(starting)
		r.send(spawnedEv(child+1), readyEv(child+1))
	}
	r.after(time.Minute)
	r.send(exitEv(4, failed), goneEv(4)).after(499 * time.Millisecond).in(backoff)
	r.after(time.Millisecond).in(starting)
}

func TestCrashStartsOnlyWhenNothingIsLeft(t *testing.T) {
	r := crashing(t, nil).up()
	r.send(exitEv(1, failed)).after(time.Minute).expect("").in(backoff)
	r.send(goneEv(1)).expect("launch(2,1)")
}

func TestStartLimit(t *testing.T) {
	r := crashing(t, func(c *Config) { c.Crash.Limit = 3 }).up()
	for child := uint64(1); child <= 3; child++ {
		r.send(exitEv(child, Status{Code: 7}), goneEv(child))
		if child < 3 {
			r.after(time.Minute).send(spawnedEv(child+1), readyEv(child+1))
		}
	}
	r.in(done)
	if r.m.result != (Status{Code: 7}) || r.m.err != nil {
		t.Errorf("ends with %v, %v; want the last status", r.m.result, r.m.err)
	}
}

func TestRotationsAreNoCrashes(t *testing.T) {
	r := crashing(t, func(c *Config) { c.Crash.Limit = 2 }).up()
	for g := uint64(2); g < 10; g++ {
		r.send(rotate(g), preparedEv(g), exitEv(g-1, term), goneEv(g-1), spawnedEv(g), readyEv(g)).in(ready)
	}
	if len(r.m.ends) != 0 || r.m.crashes != 0 {
		t.Errorf("%d ends and %d crashes after rotations only", len(r.m.ends), r.m.crashes)
	}
}

func TestRotationDuringBackoff(t *testing.T) {
	r := crashing(t, nil).up()
	r.send(exitEv(1, failed), goneEv(1), rotate(2)).expect("").in(backoff)
	r.after(time.Second).expect("launch(2,2)").in(starting)
}

func TestStopDuringBackoff(t *testing.T) {
	r := crashing(t, nil).up()
	r.send(exitEv(1, failed), goneEv(1), stopEv(syscall.SIGTERM)).expect("finish(signal TERM,<nil>)")
	r.after(time.Hour).expect("")
}

func TestForkFailuresAreTriedAgain(t *testing.T) {
	r := newRig(t, nil).send(rotate(1))
	for child := uint64(1); child < 4; child++ {
		r.send(event{kind: evSpawnFailed, child: child, err: syscall.EAGAIN, transient: true}).in(backoff)
		r.after(time.Minute).in(starting)
	}
	r.send(spawnedEv(4), readyEv(4)).in(ready)
}

func TestNeverReady(t *testing.T) {
	r := newRig(t, nil).send(rotate(1), spawnedEv(1)).after(59 * time.Second).expect("launch(1,1)")
	r.after(2*time.Second).send(exitEv(1, Status{Signal: syscall.SIGKILL}), goneEv(1)).in(done)
	if r.m.err != ErrNotReady { //nolint:errorlint // exactly this
		t.Errorf("ends with %v", r.m.err)
	}
}

func TestSignalsBeforeTheProcessAreKept(t *testing.T) {
	r := newRig(t, nil).send(rotate(1), event{kind: evSignal, sig: usr1}, event{kind: evSignal, sig: syscall.SIGHUP}).expect("launch(1,1)")
	r.send(spawnedEv(1)).expect("forward(1,10) forward(1,1)")
}

func TestStopWhileLaunching(t *testing.T) {
	start := func() *rig {
		return newRig(t, nil).send(rotate(1), stopEv(syscall.SIGTERM)).expect("launch(1,1) abort(1)").in(stopping)
	}
	t.Run("given up", func(t *testing.T) {
		start().send(event{kind: evSpawnFailed, child: 1, err: errAborted}).expect("finish(signal TERM,<nil>)")
	})
	t.Run("too late", func(t *testing.T) {
		start().send(spawnedEv(1)).expect("forward(1,15)").send(exitEv(1, Status{Code: 3}), goneEv(1)).expect("finish(exit 3,<nil>)")
	})
}

func TestTwoStopsReachTheProgram(t *testing.T) {
	r := newRig(t, nil).up().send(stopEv(syscall.SIGTERM), stopEv(syscall.SIGTERM)).expect("stop(1,15) stop(1,15)")
	// The wish came from outside: whoever sent it decides how long it may take.
	r.after(24 * time.Hour).expect("")
}

func TestOwnStopHasATimeout(t *testing.T) {
	r := newRig(t, nil).up().send(stopEv(0)).expect("stop(1,15)")
	r.after(31 * time.Second).expect("kill(1)")
	r = newRig(t, func(c *Config) { c.TermTimeout = time.Second }).up().send(stopEv(syscall.SIGINT)).expect("stop(1,2)")
	r.after(2 * time.Second).expect("kill(1)")
}

// TestCrashAtTheInstantOfARotation: whichever comes first, one new program, and we live.
func TestCrashAtTheInstantOfARotation(t *testing.T) {
	first := newRig(t, nil).up().send(rotate(2), preparedEv(2), exitEv(1, failed), goneEv(1))
	first.expect("prepare(2) stop(1,15) launch(2,2)").in(starting)
	second := crashing(t, nil).up().send(rotate(2), exitEv(1, failed), preparedEv(2), goneEv(1)).after(time.Second)
	second.expect("prepare(2) launch(2,2)").in(starting)
}
