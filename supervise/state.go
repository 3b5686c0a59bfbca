package supervise

import (
	"log/slog"
	"syscall"
	"time"
)

// state is where the supervisor is. What it may do with an event follows from it.
type state uint8

const (
	waiting   state = iota // no Generation yet, no program
	starting               // current is launched, not ready yet
	ready                  // current is ready; leaving may still be on its way out
	rotating               // current serves, next has to prove itself
	replacing              // current was asked to end so that its successor can start
	backoff                // the program ended by itself and is started again later
	stopping               // everything was asked to end
	done                   // nothing is left
)

var stateNames = [...]string{"waiting", "starting", "ready", "rotating", "replacing", "backoff", "stopping", "done"}

func (s state) String() string { return stateNames[s] }

type eventKind uint8

const (
	evRotate      eventKind = iota // generation, policy, deadline: wanted from now on
	evSpawned                      // child: there is a process
	evSpawnFailed                  // child, err, transient
	evReady                        // child: it proved to be ready
	evExit                         // child, status: ended, its group is being cleaned up
	evGone                         // child: nothing is left of it
	evSignal                       // sig from outside, to be forwarded
	evStop                         // sig from outside (already rewritten) or 0 for our own wish
	evPrepared                     // generation, err: its files are written, or not
	evHooked                       // generation, err: its hooks have ended
	evTick                         // a deadline passed
)

var eventNames = [...]string{"rotate", "spawned", "spawn-failed", "ready", "exit", "gone", "signal", "stop", "prepared", "hooked", "tick"}

func (k eventKind) String() string { return eventNames[k] }

// event is something that happened. child is the number of the child it is
// about: numbers are never used twice, so late news about an old child is known as such.
type event struct {
	kind       eventKind
	child      uint64
	generation uint64
	policy     Policy
	deadline   time.Time        // evRotate, evTick: the values in use end soon after; zero = they do not
	sigs       []syscall.Signal // evRotate: for Signal
	hooks      [][]string       // evRotate: the commands for Hook
	status     Status
	sig        syscall.Signal // evSignal, evStop
	err        error
	transient  bool // evSpawnFailed: worth another try whatever the restart policy says
	usable     bool // evExit, evSpawnFailed, evTick: the previous Generation still works
}

type actionKind uint8

const (
	doPrepare actionKind = iota // write the files of generation, then evPrepared
	doLaunch                    // start child with generation, then evSpawned or evSpawnFailed
	doForward                   // pass sig to child
	doStop                      // ask child to end with sig, wake it if it is stopped
	doKill                      // KILL child's group, and what it left if nothing else runs
	doAbort                     // give up launching child
	doSignal                    // tell child about new secrets with sig
	doHook                      // run the hooks for generation
	doReady                     // child is ready and current
	doApplied                   // generation is in use (err: could not be)
	doSettled                   // generation is in use for good
	doLog                       // say message
	doFinish                    // end Run with status and err
)

// action is what step wants done. Carrying it out never changes the machine but by an event.
type action struct {
	kind       actionKind
	child      uint64
	generation uint64
	policy     Policy
	hooks      [][]string
	write      bool // doLaunch: the files of generation have to be written first
	sig        syscall.Signal
	status     Status
	err        error
	level      slog.Level
	message    string
	args       []any
}

// child is one start of the program.
type child struct {
	id         uint64
	generation uint64
	spawned    bool // there is a process
	ready      bool
	dead       bool   // ended, not yet cleaned up
	leaving    bool   // asked to end by us
	rotation   Policy // the change it was started for: its failure is the new secrets' fault
	timedOut   bool   // did not become ready, or had to be killed
	started    time.Time
	status     Status           // how it ended, once dead
	killAt     time.Time        // KILL then
	giveUpAt   time.Time        // after KILL: call it unkillable then
	readyBy    time.Time        // give up waiting for readiness then
	soakedAt   time.Time        // ready long enough then to replace the old one
	queue      []syscall.Signal // arrived before the process did
}

func (c *child) present() bool { return c.id != 0 }
func (c *child) running() bool { return c.id != 0 && !c.dead }

// change is a Generation that is wanted and not applied yet.
type change struct {
	child      uint64 // whom its hooks are for, while they run
	generation uint64
	policy     Policy
	sigs       []syscall.Signal // for Signal, and for Hook before its commands
	hooks      [][]string       // for Hook
	deadline   time.Time
}

// machine is the whole memory of the supervisor's decisions. It does no I/O,
// reads no clock and starts no goroutine.
type machine struct {
	cfg   *Config // read only
	state state

	current, next, leaving child
	lastChild              uint64

	goal     uint64 // the Generation the next start uses
	previous uint64 // the one to roll back to; 0 = none
	prepared uint64 // whose files are in place
	pending  change
	asked    change    // its files are being written; policy Inherit = those of the goal are put back
	hooking  change    // its hooks run
	quietAt  time.Time // apply pending then, unless more arrives
	quietEnd time.Time // but no later than this
	applyAt  time.Time // after splay, budget, window or back-off, or when the values in use end
	earliest time.Time // what applyAt is without budget, windows and that end
	due      bool      // pending may be applied as soon as the state allows

	settleAt  time.Time // goal has proved itself then
	backoffAt time.Time
	resumes   Policy      // the change that the start after back-off is part of
	crashes   int         // in a row, for the back-off
	failures  int         // rotations failed in a row
	ends      []time.Time // for the start limit
	rotations []time.Time // for the budget

	exits  bool // policy Exit has ended it
	result Status
	err    error
	out    []action
}

// step takes one event and returns the machine after it and what has to be done.
func (m machine) step(now time.Time, e event) (machine, []action) {
	m.out = nil
	if m.state != done {
		m.handle(now, e)
	}
	out := m.out
	m.out = nil
	return m, out
}

func (m *machine) do(a action) { m.out = append(m.out, a) }

func (m *machine) log(level slog.Level, message string, args ...any) {
	m.do(action{kind: doLog, level: level, message: message, args: args})
}

// slot finds the child an event is about; nil if it is long forgotten.
func (m *machine) slot(id uint64) *child {
	for _, c := range m.children() {
		if id != 0 && c.id == id {
			return c
		}
	}
	return nil
}

func (m *machine) children() []*child { return []*child{&m.current, &m.next, &m.leaving} }

// wake returns the earliest deadline; zero = none.
func (m *machine) wake() time.Time {
	var first time.Time
	see := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	see(m.quietAt)
	see(m.applyAt)
	see(m.settleAt)
	see(m.backoffAt)
	for _, c := range m.children() {
		see(c.killAt)
		see(c.giveUpAt)
		see(c.readyBy)
		see(c.soakedAt)
	}
	return first
}

// passed reports whether *t is set and reached, and clears it then.
func passed(now time.Time, t *time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}
