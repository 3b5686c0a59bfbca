package supervise

import (
	"errors"
	"log/slog"
	"time"
)

// tryApply begins to apply the pending change if it is due and the state allows:
// a program that is not ready, or whose predecessor is not gone yet, comes first.
func (m *machine) tryApply() {
	if m.state != ready || !m.due || m.pending.generation == 0 || m.asked.generation != 0 ||
		m.hooking.generation != 0 || m.leaving.present() || !m.current.running() {
		return
	}
	m.asked, m.pending, m.due = m.pending, change{}, false
	m.do(action{kind: doPrepare, generation: m.asked.generation})
}

// preparedFiles: the files of the asked change are written, or cannot be.
func (m *machine) preparedFiles(now time.Time, e event) {
	if e.generation != m.asked.generation {
		return
	}
	c := m.asked
	m.asked = change{}
	if c.policy == Inherit {
		m.putBack(e)
		return
	}
	if e.err != nil {
		m.do(action{kind: doApplied, generation: c.generation, policy: c.policy, err: e.err})
		m.retry(now, c)
		return
	}
	m.prepared = c.generation
	if m.state != ready || !m.current.running() {
		m.restore(c)
		return
	}
	m.rotations = append(recent(m.rotations, now, m.cfg.Budget.Within), now)
	m.apply(now, c)
}

// putBack: the files of the Generation in use are in place again, or cannot be.
func (m *machine) putBack(e event) {
	if e.err != nil {
		m.log(slog.LevelError, "the previous files could not be put back", "generation", e.generation, "error", e.err.Error())
	} else {
		m.prepared = e.generation
	}
	m.tryApply()
}

// restore puts a change back that the course of events overtook, unless a newer one waits.
func (m *machine) restore(c change) {
	if m.state == stopping {
		return
	}
	if m.pending.generation == 0 {
		m.pending, m.due = c, true
		return
	}
	m.pending = m.pending.with(c)
}

// retry puts a failed change back and applies it, or a newer one, after a delay.
func (m *machine) retry(now time.Time, c change) {
	if m.state == stopping {
		return
	}
	d := m.cfg.Crash.delay(m.failures, m.cfg.rand())
	if c.policy == Restart {
		d = m.cfg.Crash.rareDelay(m.failures, m.cfg.rand())
	}
	m.failures++
	newer := m.pending.generation != 0
	m.restore(c)
	m.due = false
	m.log(slog.LevelWarn, "will try the new secrets again", "generation", m.pending.generation, "delay", d)
	if !newer {
		m.plan(now, now.Add(d))
	} else if m.quietAt.IsZero() && m.applyAt.IsZero() {
		m.plan(now, now.Add(minBackoff))
	}
}

func (m *machine) apply(now time.Time, c change) {
	switch c.policy {
	case None, Signal, Hook:
		m.goal = c.generation
		for _, sig := range c.sigs {
			m.do(action{kind: doSignal, child: m.current.id, generation: c.generation, sig: sig})
		}
		if c.policy == Hook {
			m.hooking, m.settleAt = c, time.Time{} // not in use before it has run
			m.hooking.child = m.current.id
			m.do(action{kind: doHook, child: m.current.id, generation: c.generation, hooks: c.hooks})
			return
		}
		m.settleFrom(now)
		m.do(action{kind: doApplied, generation: c.generation, policy: c.policy})
	case Overlap:
		m.previous, m.goal = m.goal, c.generation
		m.settleAt = time.Time{}
		m.state = rotating
		m.next = m.newChild(c.generation, Overlap)
	case Exit:
		m.log(slog.LevelInfo, "ending because secrets changed", "generation", c.generation)
		m.exits = true
		m.beginStop(now, 0, m.cfg.StopTimeout)
	default:
		m.previous, m.goal = m.goal, c.generation
		m.settleAt = time.Time{}
		m.state = replacing
		m.leave(now, &m.current, m.cfg.StopSignal, m.cfg.StopTimeout)
	}
}

// hooked: the hooks of a change have ended. Failed ones run again later, all of them.
func (m *machine) hooked(now time.Time, e event) {
	c := m.hooking
	if e.generation != c.generation {
		return
	}
	m.hooking = change{}
	if c.child == m.current.id && m.state == ready { // else the program was started anew, with what the hooks were about
		m.do(action{kind: doApplied, generation: c.generation, policy: Hook, err: e.err})
		if e.err != nil {
			m.retry(now, c)
		} else {
			m.settleFrom(now)
		}
	}
	m.tryApply()
}

// adopt makes the newest wanted Generation the goal of the coming start.
func (m *machine) adopt() {
	if m.pending.generation == 0 || !m.quickStart() {
		return
	}
	m.goal = m.pending.generation
	m.pending, m.due = change{}, false
	m.quietAt, m.quietEnd, m.applyAt = time.Time{}, time.Time{}, time.Time{}
}

// quickStart reports whether a start may use the pending Generation: not when
// it is waiting for another try after having failed.
func (m *machine) quickStart() bool { return m.failures == 0 || m.applyAt.IsZero() }

// handOver makes next the current program and lets the old one go.
func (m *machine) handOver(now time.Time) {
	old := m.current
	m.current, m.next, m.leaving = m.next, child{}, old
	m.current.soakedAt = time.Time{}
	m.state = starting
	m.leave(now, &m.leaving, m.cfg.StopSignal, m.cfg.StopTimeout)
	m.becameReady()
}

// promote: current ended while its successor starts. The successor is all there is now.
func (m *machine) promote() {
	m.log(slog.LevelWarn, "program ended while its successor starts", "status", m.current.status.String())
	old := m.current
	m.current, m.next, m.leaving = m.next, child{}, old
	m.current.soakedAt = time.Time{}
	m.state = starting
	if m.current.ready {
		m.becameReady()
	}
}

// overlapFailed: the successor ended or never became ready; the old program keeps serving.
func (m *machine) overlapFailed(now time.Time, c child, st Status, err error) {
	if err == nil {
		err = &RotationError{Generation: c.generation, Status: st, TimedOut: c.timedOut}
	}
	m.state = ready
	m.goal = m.previous
	m.settleFrom(m.current.started)
	m.do(action{kind: doApplied, generation: c.generation, policy: Overlap, err: err})
	m.retry(now, change{generation: c.generation, policy: Overlap})
	// What the old program reads must belong to what it was started with.
	m.asked, m.prepared = change{generation: m.goal, policy: Inherit}, 0
	m.do(action{kind: doPrepare, generation: m.goal})
}

// notReady: a child did not become ready in time.
func (m *machine) notReady(now time.Time, c *child, usable bool) {
	m.log(slog.LevelError, "program did not become ready in time, killing it", "generation", c.generation)
	m.kill(now, c)
	if c == &m.next && m.state == rotating {
		m.leaving, m.next = m.next, child{}
		m.overlapFailed(now, m.leaving, Status{}, nil)
		return
	}
	if c != &m.current || m.state != starting {
		return
	}
	m.err = ErrNotReady
	m.fail(now, m.current, Status{Signal: killSignal}, usable)
}

// rollBack starts the previous Generation at once and tries the new one later.
func (m *machine) rollBack(now time.Time, c child, st Status) {
	err := &RotationError{Generation: c.generation, Status: st, TimedOut: c.timedOut}
	m.log(slog.LevelError, "program fails with the new secrets, going back to the previous ones",
		"generation", c.generation, "previous", m.previous, "status", st.String())
	m.do(action{kind: doApplied, generation: c.generation, policy: c.rotation, err: err})
	m.goal, m.previous = m.previous, 0
	m.err = nil
	m.state = backoff
	m.backoffAt = time.Time{}
	m.retry(now, change{generation: c.generation, policy: c.rotation})
	if !m.current.present() {
		m.launch(Inherit)
	}
}

// settled: the goal has proved itself.
func (m *machine) settled() {
	if m.state != ready {
		return
	}
	m.crashes, m.previous = 0, 0
	if m.applyAt.IsZero() {
		m.failures = 0
	}
	m.do(action{kind: doSettled, generation: m.goal})
}

// RotationError says why a change could not be applied.
type RotationError struct {
	Generation uint64
	Status     Status // how the program ended, if it did
	TimedOut   bool   // it did not become ready in time
}

// Error implements error.
func (e *RotationError) Error() string {
	if e.TimedOut {
		return "program did not become ready in time with the new secrets"
	}
	return "program failed with the new secrets: " + e.Status.String()
}

func startStatus(err error) Status {
	var se *StartError
	if errors.As(err, &se) {
		return Status{Code: se.Code}
	}
	return Status{Code: 126}
}
