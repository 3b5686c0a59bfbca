package supervise

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two signals Windows has no name for.
const (
	usr1  = syscall.Signal(10)
	winch = syscall.Signal(28)
)

var epoch = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// rig drives a machine by hand and remembers what it asked for.
type rig struct {
	t    testing.TB
	m    machine
	now  time.Time
	acts []action
}

func newRig(t testing.TB, adjust func(*Config)) *rig {
	t.Helper()
	cfg := &Config{
		Command: []string{"app"}, Hook: []string{"hook"}, Quiet: -1, OnChange: Restart,
		Ready: Ready{Kind: ReadyNotify}, rand: func() float64 { return 0.5 },
	}
	if adjust != nil {
		adjust(cfg)
	}
	cfg.fill()
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, m: machine{cfg: cfg}, now: epoch}
}

func (r *rig) send(events ...event) *rig {
	r.t.Helper()
	for _, e := range events {
		var acts []action
		r.m, acts = r.m.step(r.now, e)
		r.acts = append(r.acts, acts...)
		r.check(e)
	}
	return r
}

// check is what must hold after every event.
func (r *rig) check(e event) {
	r.t.Helper()
	running := 0
	for _, c := range r.m.children() {
		if c.running() {
			running++
		}
	}
	m := &r.m
	bad := ""
	switch {
	case running > 2:
		bad = "more than two programs"
	case m.state == waiting && (m.current.present() || m.next.present() || m.leaving.present()):
		bad = "a program before the first generation"
	case m.state == done && running > 0:
		bad = "done with a program left"
	case m.next.present() && m.state != rotating && m.state != stopping:
		bad = "a successor outside a rotation"
	case m.state == rotating && (!m.current.running() || !m.next.running()):
		bad = "a rotation without two programs"
	case (m.state == ready || m.state == starting) && !m.current.running():
		bad = "no program"
	case m.state == replacing && !m.current.present():
		bad = "nothing to replace"
	}
	if bad != "" {
		r.t.Fatalf("%s after %s in %s: %+v", bad, e.kind, m.state, *m)
	}
}

// after lets d pass, stopping at every deadline on the way.
func (r *rig) after(d time.Duration) *rig {
	r.t.Helper()
	end := r.now.Add(d)
	for {
		at := r.m.wake()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(r.now) {
			r.now = at
		}
		r.send(event{kind: evTick, usable: true, deadline: r.m.pending.deadline})
	}
	r.now = end
	return r
}

// did returns the actions since the last call, as words.
func (r *rig) did() string {
	var words []string
	for _, a := range r.acts {
		switch a.kind {
		case doPrepare:
			words = append(words, fmt.Sprintf("prepare(%d)", a.generation))
		case doLaunch:
			words = append(words, fmt.Sprintf("launch(%d,%d)", a.child, a.generation))
		case doForward:
			words = append(words, fmt.Sprintf("forward(%d,%d)", a.child, a.sig))
		case doStop:
			words = append(words, fmt.Sprintf("stop(%d,%d)", a.child, a.sig))
		case doKill:
			words = append(words, fmt.Sprintf("kill(%d)", a.child))
		case doAbort:
			words = append(words, fmt.Sprintf("abort(%d)", a.child))
		case doSignal:
			words = append(words, fmt.Sprintf("signal(%d,%d)", a.child, a.sig))
		case doHook:
			words = append(words, fmt.Sprintf("hook(%d)", a.generation))
		case doReady:
			words = append(words, fmt.Sprintf("ready(%d)", a.child))
		case doSettled:
			words = append(words, fmt.Sprintf("settled(%d)", a.generation))
		case doFinish:
			words = append(words, fmt.Sprintf("finish(%s,%v)", a.status, a.err))
		case doApplied:
			if a.err != nil {
				words = append(words, fmt.Sprintf("failed(%d)", a.generation))
			}
		case doLog:
		}
	}
	r.acts = nil
	return strings.Join(words, " ")
}

func (r *rig) expect(want string) *rig {
	r.t.Helper()
	if got := r.did(); got != want {
		r.t.Fatalf("did %q, want %q (state %s)", got, want, r.m.state)
	}
	return r
}

func (r *rig) in(want state) *rig {
	r.t.Helper()
	if r.m.state != want {
		r.t.Fatalf("in state %s, want %s", r.m.state, want)
	}
	return r
}

func rotate(g uint64) event         { return event{kind: evRotate, generation: g} }
func spawnedEv(c uint64) event      { return event{kind: evSpawned, child: c} }
func readyEv(c uint64) event        { return event{kind: evReady, child: c} }
func goneEv(c uint64) event         { return event{kind: evGone, child: c} }
func preparedEv(g uint64) event     { return event{kind: evPrepared, generation: g} }
func stopEv(s syscall.Signal) event { return event{kind: evStop, sig: s} }

func exitEv(c uint64, st Status) event {
	return event{kind: evExit, child: c, status: st, usable: true}
}

var (
	failed = Status{Code: 1}
	term   = Status{Signal: syscall.SIGTERM}
)

// up starts child 1 with generation 1 and makes it ready.
func (r *rig) up() *rig {
	r.t.Helper()
	r.send(rotate(1), spawnedEv(1), readyEv(1)).in(ready)
	r.did()
	return r
}

// inState brings a fresh rig into each state.
func inState(t testing.TB, s state) *rig {
	t.Helper()
	var r *rig
	switch s {
	case waiting:
		r = newRig(t, nil)
	case starting:
		r = newRig(t, nil).send(rotate(1), spawnedEv(1))
	case ready:
		r = newRig(t, nil).up()
	case rotating:
		r = newRig(t, func(c *Config) { c.OnChange = Overlap }).up().send(rotate(2), preparedEv(2), spawnedEv(2))
	case replacing:
		r = newRig(t, nil).up().send(rotate(2), preparedEv(2))
	case backoff:
		r = newRig(t, func(c *Config) { c.Crash.Restart = Always }).up().send(exitEv(1, failed), goneEv(1))
	case stopping:
		r = newRig(t, nil).up().send(stopEv(syscall.SIGTERM))
	case done:
		r = newRig(t, nil).up().send(stopEv(syscall.SIGTERM), exitEv(1, term), goneEv(1))
	}
	r.in(s).did()
	return r
}

// table is what every state does with every event; what is not listed does
// nothing. The number in brackets is the child or Generation the event is about:
// 1 is the current one, 2 its successor, 9 one nobody knows.
const table = `
waiting rotate(3): launch(1,3) → starting
waiting stop: finish(signal TERM,<nil>) → done
starting ready(1): ready(1) → ready
starting exit(1): → stopping
starting signal: forward(1,10)
starting stop: stop(1,15) → stopping
ready rotate(3): prepare(3)
ready exit(1): → stopping
ready signal: forward(1,10)
ready stop: stop(1,15) → stopping
rotating ready(2): stop(1,15) ready(2) → ready
rotating exit(1): → starting
rotating exit(2): failed(2) prepare(1) → ready
rotating signal: forward(1,10)
rotating stop: stop(1,15) stop(2,15) → stopping
replacing signal: forward(1,10)
replacing stop: stop(1,15) → stopping
backoff stop: finish(signal TERM,<nil>) → done
stopping signal: forward(1,10)
stopping stop: stop(1,15)
`

func eventFor(kind eventKind, id uint64) event {
	e := event{kind: kind, child: id, generation: id, usable: true}
	switch kind {
	case evSpawnFailed:
		e.err = &StartError{Program: "app", Code: 127, Err: errors.New("no")}
	case evExit:
		e.status = failed
	case evSignal:
		e.sig = usr1
	case evStop:
		e.sig = syscall.SIGTERM
	case evRotate, evSpawned, evReady, evGone, evPrepared, evHooked, evTick:
	}
	return e
}

func TestEveryStateEveryEvent(t *testing.T) {
	var got strings.Builder
	for s := waiting; s <= done; s++ {
		for kind := evRotate; kind <= evTick; kind++ {
			ids := []uint64{1, 2, 9}
			switch kind {
			case evRotate:
				ids = []uint64{3}
			case evSignal, evStop, evTick:
				ids = []uint64{0}
			case evSpawned, evSpawnFailed, evReady, evExit, evGone, evPrepared, evHooked:
			}
			for _, id := range ids {
				r := inState(t, s).send(eventFor(kind, id))
				var words []string
				if text := r.did(); text != "" {
					words = append(words, text)
				}
				if r.m.state != s {
					words = append(words, "→ "+r.m.state.String())
				}
				if len(words) == 0 {
					continue
				}
				name := kind.String()
				if id != 0 {
					name += fmt.Sprintf("(%d)", id)
				}
				fmt.Fprintf(&got, "%s %s: %s\n", s, name, strings.Join(words, " "))
			}
		}
	}
	if want := strings.TrimPrefix(table, "\n"); got.String() != want {
		t.Errorf("the table is now\n%s", got.String())
	}
}
