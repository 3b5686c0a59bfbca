package supervise

import (
	"syscall"
	"testing"
	"time"
)

// FuzzMachine plays a world in which anything happens in any order, as far as
// processes can: after each event the rig checks what must always hold, and
// after a stop everything ends.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 7, 1, 2, 3, 4})
	f.Add([]byte{0x40, 1, 2, 0, 7, 1, 3, 4, 8, 8, 8})
	f.Add([]byte{0x81, 1, 0, 0, 6, 9, 9, 9, 5})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 {
			return
		}
		w := newWorld(t, script[0])
		for _, b := range script[1:] {
			w.play(b)
		}
		w.end()
	})
}

// world knows which processes there are.
type world struct {
	*rig
	generation uint64
	launching  []uint64
	alive      []uint64
	dead       []uint64
	asked      []uint64
}

func newWorld(t *testing.T, kind byte) *world {
	t.Helper()
	return &world{rig: newRig(t, func(c *Config) {
		c.OnChange = []Policy{Restart, Overlap, Signal, Exit}[kind&3]
		c.Crash.Restart = []When{Never, OnFailure, OnAbnormal, Always}[kind>>2&3]
		if kind&16 != 0 {
			c.Quiet = time.Second
		}
		if kind&32 != 0 {
			c.Ready.Soak = time.Second
		}
		if kind&64 != 0 && c.OnChange != Overlap {
			c.Ready = Ready{}
		}
		if kind&128 != 0 {
			c.Crash.Limit = 3
		}
		c.TermTimeout = time.Minute
	})}
}

func (w *world) tell(e event) {
	w.send(e)
	for _, a := range w.acts {
		switch a.kind {
		case doLaunch:
			w.launching = append(w.launching, a.child)
		case doPrepare:
			w.asked = append(w.asked, a.generation)
		case doForward, doStop, doKill, doAbort, doSignal, doHook, doReady, doApplied, doSettled, doLog, doFinish:
		}
	}
	w.acts = nil
	if n := len(w.launching) + len(w.alive); n > 2 {
		w.t.Fatalf("%d programs at a time", n)
	}
}

// pick takes one of the ids out of the list; 0 if there is none.
func pick(ids *[]uint64, n byte) uint64 {
	if len(*ids) == 0 {
		return 0
	}
	i := int(n) % len(*ids)
	id := (*ids)[i]
	*ids = append((*ids)[:i:i], (*ids)[i+1:]...)
	return id
}

func (w *world) play(b byte) {
	what, arg := b&15, b>>4
	switch what {
	case 0, 10:
		w.generation++
		w.tell(event{kind: evRotate, generation: w.generation, policy: Policy(arg % 7)})
	case 1, 11:
		if id := pick(&w.launching, arg); id != 0 {
			w.alive = append(w.alive, id)
			w.tell(spawnedEv(id))
		}
	case 2, 12:
		if len(w.alive) > 0 {
			w.tell(readyEv(w.alive[int(arg)%len(w.alive)]))
		}
	case 3:
		w.exit(arg)
	case 4, 13:
		if id := pick(&w.dead, arg); id != 0 {
			w.tell(goneEv(id))
		}
	case 5:
		if id := pick(&w.launching, arg); id != 0 {
			w.tell(event{kind: evSpawnFailed, child: id, err: syscall.EAGAIN, transient: arg&1 == 0, usable: arg&2 == 0})
		}
	case 6:
		w.tell(event{kind: evSignal, sig: syscall.SIGHUP})
	case 7, 14:
		if g := pick(&w.asked, arg); g != 0 {
			e := preparedEv(g)
			if arg == 15 {
				e.err = syscall.ENOSPC
			}
			w.tell(e)
		}
	case 8, 9:
		w.now = w.now.Add(time.Duration(1+arg) * time.Second)
		w.tell(event{kind: evTick, usable: arg&1 == 0})
	case 15:
		if arg == 15 {
			w.tell(stopEv(syscall.SIGTERM))
		}
	}
}

func (w *world) exit(arg byte) {
	if id := pick(&w.alive, arg); id != 0 {
		w.dead = append(w.dead, id)
		e := exitEv(id, []Status{{}, failed, term, {Signal: syscall.SIGSEGV}}[arg&3])
		e.usable = arg&4 == 0
		w.tell(e)
	}
}

// end stops everything: from wherever the world is, that must come to an end.
func (w *world) end() {
	w.tell(stopEv(syscall.SIGTERM))
	for range 20 {
		for _, id := range append([]uint64(nil), w.launching...) {
			pick(&w.launching, 0)
			w.tell(event{kind: evSpawnFailed, child: id, err: errAborted})
		}
		for len(w.alive) > 0 {
			w.exit(2)
		}
		for len(w.dead) > 0 {
			w.tell(goneEv(pick(&w.dead, 0)))
		}
	}
	w.in(done)
}
