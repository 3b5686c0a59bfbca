package supervise

import (
	"log/slog"
	"syscall"
	"time"
)

// leave asks a child to end, with KILL after timeout (0 = never).
func (m *machine) leave(now time.Time, c *child, sig syscall.Signal, timeout time.Duration) {
	if !c.running() {
		return
	}
	c.readyBy, c.soakedAt = time.Time{}, time.Time{}
	if timeout > 0 && c.giveUpAt.IsZero() {
		if at := now.Add(timeout); c.killAt.IsZero() || at.Before(c.killAt) {
			c.killAt = at
		}
	}
	switch {
	case c.spawned:
		c.leaving = true
		m.do(action{kind: doStop, child: c.id, sig: sig})
	case !c.leaving:
		c.leaving = true
		m.do(action{kind: doAbort, child: c.id})
	}
}

// kill ends a child at once.
func (m *machine) kill(now time.Time, c *child) {
	if !c.running() {
		return
	}
	c.leaving, c.timedOut = true, true
	c.killAt, c.readyBy, c.soakedAt = time.Time{}, time.Time{}, time.Time{}
	c.giveUpAt = now.Add(unkillableAfter)
	m.do(action{kind: doKill, child: c.id})
}

// stop is a wish to end everything: sig from outside, or 0 for our own.
func (m *machine) stop(now time.Time, e event) {
	switch m.state {
	case waiting, backoff:
		// No program runs: we are the one who was stopped.
		m.result = Status{Signal: e.sig}
		if e.sig == 0 {
			m.result = Status{Signal: m.cfg.StopSignal}
		}
		m.err = nil
	}
	timeout := m.cfg.TermTimeout
	if e.sig == 0 {
		timeout = m.cfg.StopTimeout
	}
	m.beginStop(now, e.sig, timeout)
	m.finishIfEmpty()
}

// beginStop moves to stopping from anywhere; asked again it passes the wish on again.
func (m *machine) beginStop(now time.Time, sig syscall.Signal, timeout time.Duration) {
	m.state = stopping
	m.pending, m.due = change{}, false
	m.quietAt, m.quietEnd, m.applyAt, m.settleAt, m.backoffAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if sig == 0 {
		sig = m.cfg.StopSignal
	}
	switch c := &m.current; {
	case c.running() && !c.spawned && len(c.queue) < maxQueue:
		// Half started: whatever it becomes gets the signal first thing.
		c.queue = append(c.queue[:len(c.queue):len(c.queue)], sig)
		m.do(action{kind: doAbort, child: c.id})
		if timeout > 0 {
			c.killAt = now.Add(timeout)
		}
	default:
		m.leave(now, c, sig, timeout)
	}
	m.leave(now, &m.next, m.cfg.StopSignal, m.cfg.StopTimeout)
}

// finishIfEmpty ends the machine once nothing is left to wait for.
func (m *machine) finishIfEmpty() {
	if m.state != stopping || m.current.present() || m.next.present() || m.leaving.present() {
		return
	}
	m.state = done
	if m.exits && m.cfg.ExitCode >= 0 {
		m.result = Status{Code: m.cfg.ExitCode}
	}
	m.do(action{kind: doFinish, status: m.result, err: m.err})
}

// fail decides what follows when current ended without being asked to.
func (m *machine) fail(now time.Time, c child, st Status, usable bool) {
	m.result = st
	m.settleAt = time.Time{}
	young := !c.ready || now.Sub(c.started) < m.cfg.MinUptime
	broken := !st.Success() || !c.ready
	if c.rotation != Inherit && young && broken && m.previous != 0 && usable && m.previous != c.generation {
		m.rollBack(now, c, st)
		return
	}
	if c.rotation != Inherit && young && broken && m.previous != 0 && !usable {
		m.log(slog.LevelError, "program fails with the new secrets, and the previous ones have ended", "generation", c.generation, "previous", m.previous)
	}
	m.previous = 0
	if !m.cfg.Crash.again(st, c.timedOut) {
		m.quit(now)
		return
	}
	if m.overLimit(now) {
		m.log(slog.LevelError, "program ended too often, giving up", "status", st.String(), "limit", m.cfg.Crash.Limit)
		m.quit(now)
		return
	}
	if now.Sub(c.started) >= m.cfg.Crash.ResetAfter && c.spawned {
		m.crashes = 0
	}
	m.log(slog.LevelWarn, "program ended, will start it again", "status", st.String(), "generation", c.generation)
	m.backOff(now)
}

// quit ends everything because current did.
func (m *machine) quit(now time.Time) {
	result, err := m.result, m.err
	m.beginStop(now, 0, m.cfg.StopTimeout)
	m.result, m.err = result, err
}

// backOff waits before the next start.
func (m *machine) backOff(now time.Time) {
	d := m.cfg.Crash.delay(m.crashes, m.cfg.rand())
	m.crashes++
	m.state = backoff
	m.resumes = Inherit
	m.backoffAt = now.Add(d)
	m.log(slog.LevelInfo, "waiting before the next start", "delay", d)
}

// overLimit notes one end and reports whether there were too many of late.
func (m *machine) overLimit(now time.Time) bool {
	if m.cfg.Crash.Limit == 0 {
		return false
	}
	m.ends = recent(m.ends, now, m.cfg.Crash.Within)
	m.ends = append(m.ends, now)
	return len(m.ends) >= m.cfg.Crash.Limit
}

// recent copies the times that are younger than within.
func recent(times []time.Time, now time.Time, within time.Duration) []time.Time {
	var kept []time.Time
	for _, t := range times {
		if now.Sub(t) < within {
			kept = append(kept, t)
		}
	}
	return kept
}
