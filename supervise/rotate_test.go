package supervise

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

func TestRestartOnChange(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2)).expect("prepare(2)").in(ready)
	r.send(preparedEv(2)).expect("stop(1,15)").in(replacing)
	r.send(exitEv(1, term)).expect("").in(replacing)
	r.send(goneEv(1)).expect("launch(2,2)").in(starting)
	r.send(spawnedEv(2), readyEv(2)).expect("ready(2)").in(ready)
	r.after(10 * time.Second).expect("settled(2)")
}

func TestNewestGenerationIsStarted(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2), rotate(3)).expect("prepare(2) stop(1,15)")
	r.send(exitEv(1, term), goneEv(1)).expect("launch(2,3)")
	r.send(spawnedEv(2), readyEv(2)).expect("ready(2)").in(ready)
}

func TestStubbornProgramIsKilled(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2)).expect("prepare(2) stop(1,15)")
	r.after(29 * time.Second).expect("")
	r.after(2 * time.Second).expect("kill(1)").in(replacing)
	r.send(exitEv(1, Status{Signal: syscall.SIGKILL}), goneEv(1)).expect("launch(2,2)")
}

func TestUnkillableProgramEndsAll(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2)).did()
	r.after(time.Minute).expect("kill(1) finish(exit 0,program does not end, even by KILL)").in(done)
}

func TestQuietPeriodAndItsMaximum(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Quiet, c.QuietMax = time.Second, 3*time.Second }).up()
	r.send(rotate(2)).after(900 * time.Millisecond).expect("")
	r.send(rotate(3)).after(900 * time.Millisecond).expect("")
	r.after(200 * time.Millisecond).expect("prepare(3)")
	r.send(preparedEv(3), exitEv(1, term), goneEv(1), spawnedEv(2), readyEv(2)).did()
	for g := range uint64(20) { // never quiet
		r.send(rotate(10 + g)).after(200 * time.Millisecond)
	}
	r.expect("prepare(24)")
}

func TestSplayIsInterruptedByStop(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Splay = 100 * time.Second }).up()
	r.send(rotate(2)).after(49 * time.Second).expect("settled(1)")
	r.send(stopEv(syscall.SIGTERM)).expect("stop(1,15)").in(stopping)
	r.after(time.Hour).expect("")
	r = newRig(t, func(c *Config) { c.Splay = 100 * time.Second }).up()
	r.send(rotate(2)).after(51 * time.Second).expect("settled(1) prepare(2)")
}

func TestDeadlineBeatsSplayBudgetAndWindow(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Splay, c.Windows = 100*time.Second, []Window{{From: 3 * time.Hour, Length: time.Hour}}
	}).up()
	e := rotate(2)
	e.deadline = r.now.Add(5 * time.Second)
	r.send(e).after(6 * time.Second).expect("prepare(2)")
}

func TestBudget(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Budget = Budget{N: 2, Within: time.Hour}; c.OnChange = Signal }).up()
	for g := uint64(2); g < 6; g++ {
		r.send(rotate(g), preparedEv(g)).after(time.Minute)
	}
	r.expect("prepare(2) signal(1,1) settled(2) prepare(3) signal(1,1) settled(3)")
	r.after(time.Hour).expect("prepare(5)")
}

func TestSignalPolicy(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OnChange = Signal }).up()
	r.send(rotate(2)).expect("prepare(2)")
	r.send(preparedEv(2)).expect("signal(1,1)").in(ready)
	// The next start uses what the signal was about.
	r.m.cfg.Crash.Restart = Always
	r.send(exitEv(1, failed), goneEv(1)).after(time.Minute).expect("launch(2,2)")
}

func TestPoliciesPerGeneration(t *testing.T) {
	for policy, want := range map[Policy]string{
		None: "prepare(2)", Signal: "prepare(2) signal(1,1)", Hook: "prepare(2) hook(2)",
		Restart: "prepare(2) stop(1,15)", Exit: "prepare(2) stop(1,15)", Overlap: "prepare(2) launch(2,2)",
	} {
		t.Run(policy.String(), func(t *testing.T) {
			e := rotate(2)
			e.policy = policy
			newRig(t, nil).up().send(e, preparedEv(2)).expect(want)
		})
	}
}

func TestStrongestPolicyWins(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Quiet = time.Second }).up()
	first, second := rotate(2), rotate(3)
	first.policy, second.policy = Restart, None
	r.send(first, second).after(2 * time.Second).send(preparedEv(3)).expect("prepare(3) stop(1,15)")
}

func TestExitPolicy(t *testing.T) {
	for code, want := range map[int]string{-1: "finish(signal TERM,<nil>)", 0: "finish(exit 0,<nil>)", 3: "finish(exit 3,<nil>)"} {
		r := newRig(t, func(c *Config) { c.OnChange, c.ExitCode = Exit, code }).up()
		r.send(rotate(2), preparedEv(2)).expect("prepare(2) stop(1,15)").in(stopping)
		r.send(exitEv(1, term), goneEv(1)).expect(want).in(done)
	}
}

func TestFilesThatCannotBeWrittenAreTriedAgain(t *testing.T) {
	r := newRig(t, nil).up()
	bad := preparedEv(2)
	bad.err = errors.New("no space")
	r.send(rotate(2), bad).expect("prepare(2) failed(2)").in(ready)
	r.after(time.Second).send(preparedEv(2)).expect("prepare(2) stop(1,15)")
}

// overlapping is a rotation to generation 2 whose program runs and is not ready.
func overlapping(t *testing.T, adjust func(*Config)) *rig {
	t.Helper()
	r := newRig(t, func(c *Config) {
		c.OnChange = Overlap
		if adjust != nil {
			adjust(c)
		}
	}).up()
	r.send(rotate(2), preparedEv(2)).expect("prepare(2) launch(2,2)").in(rotating)
	return r.send(spawnedEv(2))
}

func TestOverlap(t *testing.T) {
	r := overlapping(t, nil)
	r.send(readyEv(2)).expect("stop(1,15) ready(2)").in(ready)
	r.send(rotate(3)).expect("") // the old one is still there: never three
	r.send(exitEv(1, term), goneEv(1)).expect("prepare(3)")
}

func TestOverlapKeepsTheOldOne(t *testing.T) {
	for name, fail := range map[string]struct {
		events func(*rig)
		did    string
	}{
		"exit 0":      {func(r *rig) { r.send(exitEv(2, Status{})) }, "failed(2) prepare(1)"},
		"exit 1":      {func(r *rig) { r.send(exitEv(2, failed)) }, "failed(2) prepare(1)"},
		"signal":      {func(r *rig) { r.send(exitEv(2, term)) }, "failed(2) prepare(1)"},
		"never ready": {func(r *rig) { r.after(61 * time.Second).send(exitEv(2, term)) }, "kill(2) failed(2) prepare(1) settled(1)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := overlapping(t, nil)
			fail.events(r)
			r.expect(fail.did).in(ready)
			if r.m.current.id != 1 || r.m.goal != 1 {
				t.Fatalf("current is %d with generation %d", r.m.current.id, r.m.goal)
			}
			r.send(goneEv(2), preparedEv(1)).after(time.Second).send(preparedEv(2)).expect("prepare(2) launch(3,2)")
		})
	}
}

func TestOverlapSpawnFails(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OnChange = Overlap }).up()
	r.send(rotate(2), preparedEv(2), event{kind: evSpawnFailed, child: 2, err: syscall.EAGAIN, transient: true})
	r.expect("prepare(2) launch(2,2) failed(2) prepare(1)").in(ready)
	r.send(preparedEv(1)).after(time.Second).expect("prepare(2)")
}

func TestSoak(t *testing.T) {
	soak := func(c *Config) { c.Ready.Soak = 5 * time.Second }
	r := overlapping(t, soak)
	r.send(readyEv(2)).after(4 * time.Second).expect("").in(rotating)
	r.after(2 * time.Second).expect("stop(1,15) ready(2)").in(ready)

	r = overlapping(t, soak)
	r.send(readyEv(2)).after(4 * time.Second).send(exitEv(2, failed)).expect("failed(2) prepare(1)").in(ready)
	if r.m.current.id != 1 {
		t.Error("the old program is not current any more")
	}
}

func TestOldOneDiesWhileSuccessorStarts(t *testing.T) {
	r := overlapping(t, nil)
	r.send(exitEv(1, failed)).expect("").in(starting)
	r.send(goneEv(1), readyEv(2)).expect("ready(2)").in(ready)
}

func TestStopDuringOverlapEndsBoth(t *testing.T) {
	r := overlapping(t, nil)
	r.send(stopEv(syscall.SIGTERM)).expect("stop(1,15) stop(2,15)").in(stopping)
	r.send(exitEv(2, term), goneEv(2), exitEv(1, Status{Code: 7})).expect("")
	r.send(goneEv(1)).expect("finish(exit 7,<nil>)")
}

func TestRollback(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2), exitEv(1, term), goneEv(1), spawnedEv(2)).did()
	r.send(exitEv(2, failed)).expect("failed(2)").in(backoff)
	r.send(goneEv(2)).expect("launch(3,1)").in(starting)
	r.send(spawnedEv(3), readyEv(3)).expect("ready(3)")
	// And the new one again, later; each time later still.
	r.after(time.Second).expect("prepare(2)").in(ready)
	r.send(preparedEv(2), exitEv(3, term), goneEv(3), spawnedEv(4), readyEv(4)).expect("stop(3,15) launch(4,2) ready(4)")
	r.after(10 * time.Second).expect("settled(2)")
	if r.m.failures != 0 {
		t.Errorf("%d failures are remembered after a success", r.m.failures)
	}
}

func TestRollbackOfAProgramThatNeverGetsReady(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2), exitEv(1, term), goneEv(1), spawnedEv(2)).did()
	r.after(61 * time.Second).expect("kill(2) failed(2)").in(backoff)
	r.send(exitEv(2, Status{Signal: syscall.SIGKILL}), goneEv(2)).expect("launch(3,1)")
}

func TestNoRollback(t *testing.T) {
	toTwo := func(r *rig) { r.send(rotate(2), preparedEv(2), exitEv(1, term), goneEv(1), spawnedEv(2)).did() }
	t.Run("old values are dead", func(t *testing.T) {
		r := newRig(t, nil).up()
		toTwo(r)
		e := exitEv(2, failed)
		e.usable = false
		r.send(e, goneEv(2)).expect("finish(exit 1,<nil>)")
	})
	t.Run("the job is done", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Ready = Ready{} })
		r.send(rotate(1), spawnedEv(1)).did()
		toTwo(r)
		r.send(exitEv(2, Status{}), goneEv(2)).expect("finish(exit 0,<nil>)")
	})
	t.Run("it lived long enough", func(t *testing.T) {
		r := newRig(t, nil).up()
		toTwo(r)
		r.send(readyEv(2)).after(11 * time.Second)
		r.send(exitEv(2, failed), goneEv(2)).expect("ready(2) settled(2) finish(exit 1,<nil>)")
	})
}

func TestWindows(t *testing.T) {
	berlin := time.FixedZone("somewhere", 3600)
	night := Window{From: 22 * time.Hour, Length: 4 * time.Hour, Location: berlin}
	sunday := Window{From: 2 * time.Hour, Length: time.Hour, Days: []time.Weekday{time.Sunday}}
	day := func(d, h, m int) time.Time { return time.Date(2026, 1, d, h, m, 0, 0, time.UTC) } // the 5th is a Monday
	for _, c := range []struct {
		windows []Window
		at      time.Time
		want    time.Time
	}{
		{nil, day(5, 12, 0), day(5, 12, 0)},
		{[]Window{night}, day(5, 12, 0), day(5, 21, 0)},
		{[]Window{night}, day(5, 21, 30), day(5, 21, 30)},
		{[]Window{night}, day(6, 0, 59), day(6, 0, 59)}, // opened yesterday
		{[]Window{night}, day(6, 1, 0), day(6, 21, 0)},
		{[]Window{sunday}, day(5, 12, 0), day(11, 2, 0)},
		{[]Window{sunday}, day(11, 3, 0), day(18, 2, 0)},
		{[]Window{sunday, night}, day(10, 23, 0), day(10, 23, 0)},
	} {
		cfg := Config{Windows: c.windows}
		if got := cfg.permitted(c.at, nil); !got.Equal(c.want) {
			t.Errorf("%v at %v: permitted at %v, want %v", c.windows, c.at, got, c.want)
		}
	}
}

func ExamplePolicy_String() {
	fmt.Println(Overlap)
	// Output: overlap
}

func TestOneBurstSendsEverySignalAndRunsEveryHook(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Quiet = time.Second }).up()
	first, second, third := rotate(2), rotate(3), rotate(4)
	first.policy, first.sigs = Signal, []syscall.Signal{usr1}
	second.policy, second.hooks = Hook, [][]string{{"a"}, {"b"}}
	third.policy, third.sigs = Signal, []syscall.Signal{usr1, syscall.SIGHUP}
	r.send(first, second, third).after(2 * time.Second).expect("prepare(4)")
	r.send(preparedEv(4))
	if hooks := r.acts[len(r.acts)-1].hooks; len(hooks) != 2 {
		t.Errorf("hooks %q", hooks)
	}
	r.expect("signal(1,10) signal(1,1) hook(4)")
	r.send(event{kind: evHooked, generation: 4}).expect("").after(10 * time.Second).expect("settled(4)")
}

func TestHooksDoNotOverlap(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OnChange = Hook }).up()
	r.send(rotate(2), preparedEv(2)).expect("prepare(2) hook(2)")
	r.send(rotate(3)).after(time.Minute).expect("") // not settled either: generation 2 is not in use yet
	r.send(event{kind: evHooked, generation: 2}).expect("prepare(3)")
	r.send(preparedEv(3)).expect("hook(3)")
}

func TestFailedHookRunsAgain(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OnChange = Hook }).up()
	bad := event{kind: evHooked, generation: 2, err: errors.New("exit 1")}
	r.send(rotate(2), preparedEv(2), bad).expect("prepare(2) hook(2) failed(2)").in(ready)
	r.after(time.Second).send(preparedEv(2)).expect("prepare(2) hook(2)")
	r.send(bad).after(100 * time.Millisecond).did()
	r.send(rotate(3)).after(5 * time.Second).send(preparedEv(3)).expect("prepare(3) hook(3)")
}

func TestProgramThatEndsTakesItsHookAlong(t *testing.T) {
	r := newRig(t, func(c *Config) { c.OnChange = Hook; c.Crash.Restart = Always }).up()
	r.send(rotate(2), preparedEv(2), exitEv(1, failed), goneEv(1)).after(time.Minute).did()
	r.send(spawnedEv(2), readyEv(2)).in(ready).did()
	r.send(event{kind: evHooked, generation: 2, err: errors.New("exit 1")}).expect("").after(time.Minute).expect("settled(2)")
}

// Each try of failed secrets stops a program that works: it must become rare.
func TestTriesOfFailedSecretsBecomeRare(t *testing.T) {
	c := Crash{}
	c.fill()
	for attempt, least := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
		if d := c.rareDelay(attempt, 0); d != least {
			t.Errorf("attempt %d waits %v at least, want %v", attempt, d, least)
		}
	}
	if d := c.rareDelay(20, 1); d != maxRareDelay {
		t.Errorf("in the long run it waits %v at most", d)
	}
}

// A full disk at the way back keeps the program from its start for a while, not for good.
func TestFilesOfTheWayBackAreTriedAgain(t *testing.T) {
	r := newRig(t, nil).up()
	r.send(rotate(2), preparedEv(2), exitEv(1, term), goneEv(1), spawnedEv(2), exitEv(2, failed), goneEv(2))
	r.expect("prepare(2) stop(1,15) launch(2,2) failed(2) launch(3,1)")
	r.send(event{kind: evSpawnFailed, child: 3, err: errors.New("no space"), transient: true}).in(backoff)
	r.after(time.Second).expect("launch(4,1)")
}

// The machine slept, or its clock was set: what counts is whether the window is open now.
func TestWindowFollowsTheClockOnTheWall(t *testing.T) {
	for jump, want := range map[time.Duration]string{
		15*time.Hour + 30*time.Minute: "prepare(2)", // 3:30, in the window
		17 * time.Hour:                "",           // 5:00, it was missed
	} {
		r := newRig(t, func(c *Config) { c.Windows = []Window{{From: 3 * time.Hour, Length: time.Hour}} }).up()
		r.send(rotate(2)).after(time.Minute).did()
		r.now = epoch.Add(jump)
		r.send(event{kind: evTick}).expect(want)
		r.after(24 * time.Hour)
		if want == "" {
			r.expect("prepare(2)") // the next day
		}
	}
}
