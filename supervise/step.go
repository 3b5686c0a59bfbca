package supervise

import (
	"errors"
	"log/slog"
	"time"

	"github.com/envexec/envexec/signals"
)

func (m *machine) handle(now time.Time, e event) {
	switch e.kind {
	case evRotate:
		m.want(now, e)
	case evSpawned:
		m.spawned(now, e)
	case evSpawnFailed:
		m.spawnFailed(now, e)
	case evReady:
		m.proved(now, e)
	case evExit:
		m.exited(now, e)
	case evGone:
		m.gone(e)
	case evSignal:
		m.forward(e)
	case evStop:
		m.stop(now, e)
	case evPrepared:
		m.preparedFiles(now, e)
	case evHooked:
		m.hooked(now, e)
	case evTick:
		m.tick(now, e)
	}
}

// launch starts the program as current with the goal.
func (m *machine) launch(rotation Policy) {
	m.backoffAt = time.Time{}
	m.state = starting
	m.current = m.newChild(m.goal, rotation)
}

func (m *machine) newChild(generation uint64, rotation Policy) child {
	m.lastChild++
	write := m.prepared != generation
	if write {
		m.prepared = 0
	}
	m.do(action{kind: doLaunch, child: m.lastChild, generation: generation, write: write})
	return child{id: m.lastChild, generation: generation, rotation: rotation}
}

func (m *machine) spawned(now time.Time, e event) {
	c := m.slot(e.child)
	if c == nil || c.spawned {
		return
	}
	c.spawned, c.started = true, now
	m.prepared = c.generation
	if c.leaving {
		m.do(action{kind: doStop, child: c.id, sig: m.cfg.StopSignal})
	}
	for _, sig := range c.queue {
		m.do(action{kind: doForward, child: c.id, sig: sig})
	}
	c.queue = nil
	if c.leaving || m.state == stopping {
		return
	}
	if m.cfg.Ready.none() {
		m.proved(now, event{child: c.id})
		return
	}
	c.readyBy = now.Add(m.cfg.Ready.Timeout)
}

// spawnFailed is about a child that never was.
func (m *machine) spawnFailed(now time.Time, e event) {
	c := m.slot(e.child)
	if c == nil || c.spawned {
		return
	}
	failed := *c
	*c = child{}
	failed.timedOut = e.transient // so that every restart policy but "no" tries again
	st := startStatus(e.err)
	switch {
	case m.state == stopping:
		if n := len(failed.queue); n > 0 && errors.Is(e.err, errAborted) {
			m.result = Status{Signal: failed.queue[n-1]}
		}
		m.finishIfEmpty()
	case m.state == rotating:
		m.overlapFailed(now, failed, st, e.err)
	case e.transient:
		m.log(slog.LevelWarn, "cannot start program, will try again", "error", e.err.Error())
		m.backOff(now)
		m.resumes = failed.rotation
	default:
		m.err = e.err
		m.fail(now, failed, st, e.usable)
		m.finishIfEmpty()
	}
}

// proved: the child is ready.
func (m *machine) proved(now time.Time, e event) {
	c := m.slot(e.child)
	if c == nil || c.dead || c.leaving || c.ready {
		return
	}
	c.ready, c.readyBy = true, time.Time{}
	switch {
	case m.state == starting && c == &m.current:
		m.becameReady()
	case m.state == rotating && c == &m.next:
		if soak := m.cfg.Ready.Soak; soak > 0 {
			c.soakedAt = now.Add(soak)
			return
		}
		m.handOver(now)
	}
}

func (m *machine) becameReady() {
	m.state = ready
	m.err = nil
	m.do(action{kind: doReady, child: m.current.id, generation: m.current.generation})
	m.do(action{kind: doApplied, generation: m.current.generation, policy: m.current.rotation})
	m.settleFrom(m.current.started)
	m.tryApply()
}

// settleFrom starts the time after which the goal counts as good.
func (m *machine) settleFrom(t time.Time) { m.settleAt = t.Add(m.cfg.MinUptime) }

// exited: a child ended. Its group is still being cleaned up.
func (m *machine) exited(now time.Time, e event) {
	c := m.slot(e.child)
	if c == nil || c.dead || !c.spawned {
		return
	}
	c.dead, c.status = true, e.status
	c.killAt, c.readyBy, c.soakedAt = time.Time{}, time.Time{}, time.Time{}
	switch {
	case c == &m.leaving:
	case c == &m.next:
		if m.state == rotating {
			m.leaving, m.next = m.next, child{}
			m.overlapFailed(now, m.leaving, e.status, nil)
		}
	case m.state == stopping:
		m.result = e.status
	case m.state == rotating:
		m.promote()
	case m.state == starting, m.state == ready:
		m.fail(now, m.current, e.status, e.usable)
	}
}

// gone: nothing is left of a child, its process id is free.
func (m *machine) gone(e event) {
	c := m.slot(e.child)
	if c == nil || !c.dead {
		return
	}
	current := c == &m.current
	*c = child{}
	switch {
	case m.state == stopping:
		m.finishIfEmpty()
	case m.state == replacing && current:
		m.adopt()
		m.launch(Restart)
	case m.state == backoff && m.backoffAt.IsZero():
		m.launch(Inherit)
	case m.state == ready:
		m.tryApply()
	}
}

// forward passes on a signal from outside that does not ask to stop.
func (m *machine) forward(e event) {
	c := &m.current
	switch {
	case !c.running():
		m.log(slog.LevelDebug, "no program to forward the signal to", "signal", signals.Name(e.sig))
	case c.spawned:
		m.do(action{kind: doForward, child: c.id, sig: e.sig})
	case len(c.queue) < maxQueue:
		c.queue = append(c.queue[:len(c.queue):len(c.queue)], e.sig)
	}
}

// maxQueue bounds the signals kept for a program that is being started.
const maxQueue = 64

func (m *machine) tick(now time.Time, e event) {
	for _, c := range m.children() {
		m.tickChild(now, c, e.usable)
	}
	if passed(now, &m.settleAt) {
		m.settled()
	}
	if passed(now, &m.quietAt) {
		m.quietEnd = time.Time{}
		m.schedule(now)
	}
	m.lookAtTheWall(now)
	if passed(now, &m.applyAt) {
		m.applyTime(now, e.deadline)
	}
	if m.state == backoff && passed(now, &m.backoffAt) && !m.current.present() {
		m.adopt()
		m.launch(m.resumes)
	}
	m.finishIfEmpty()
}

func (m *machine) tickChild(now time.Time, c *child, usable bool) {
	if passed(now, &c.giveUpAt) {
		m.unkillable(now, c)
	}
	if passed(now, &c.killAt) {
		c.timedOut = true
		c.giveUpAt = now.Add(unkillableAfter)
		m.log(slog.LevelWarn, "program does not end in time, killing it", "generation", c.generation)
		m.do(action{kind: doKill, child: c.id})
	}
	if passed(now, &c.readyBy) {
		m.notReady(now, c, usable)
	}
	if passed(now, &c.soakedAt) && m.state == rotating && c == &m.next {
		m.handOver(now)
	}
}

// unkillableAfter is how long KILL may take before we stop waiting for it.
const unkillableAfter = 5 * time.Second

// unkillable gives up on a child that KILL does not end. Its successor must not
// overlap with it, so unless it was only leaving, this is the end.
func (m *machine) unkillable(now time.Time, c *child) {
	m.log(slog.LevelError, "program does not end, even by KILL", "generation", c.generation)
	if c == &m.leaving && m.state != stopping {
		*c = child{}
		m.tryApply()
		return
	}
	*c = child{}
	m.err = ErrUnkillable
	m.beginStop(now, 0, m.cfg.StopTimeout)
}
