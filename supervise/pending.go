package supervise

import (
	"log/slog"
	"slices"
	"syscall"
	"time"
)

// want takes note of a new Generation. It is applied when it is time, and the
// newest wins: what was wanted before and not applied yet is forgotten.
func (m *machine) want(now time.Time, e event) {
	switch m.state {
	case stopping, done:
		return
	case waiting:
		m.goal = e.generation
		m.launch(Inherit)
		return
	}
	m.pending = m.merge(e)
	if m.quietEnd.IsZero() {
		m.quietEnd = now.Add(m.cfg.QuietMax)
	}
	m.quietAt = now.Add(m.cfg.Quiet)
	if m.quietAt.After(m.quietEnd) {
		m.quietAt = m.quietEnd
	}
	m.due, m.applyAt = false, time.Time{}
	if m.cfg.Quiet == 0 {
		m.quietAt, m.quietEnd = time.Time{}, time.Time{}
		m.schedule(now)
	}
}

// merge makes a change of e and what is pending already: newest values, strongest policy.
func (m *machine) merge(e event) change {
	c := change{generation: e.generation, policy: e.policy, sigs: e.sigs, hooks: e.hooks, deadline: e.deadline}
	if c.policy == Inherit {
		c.policy = m.cfg.OnChange
	}
	if c.policy == Signal && len(c.sigs) == 0 {
		c.sigs = []syscall.Signal{m.cfg.ChangeSignal}
	}
	if c.policy == Hook && len(c.hooks) == 0 {
		c.hooks = [][]string{m.cfg.Hook}
	}
	if m.pending.generation == 0 {
		return c
	}
	return c.with(m.pending)
}

// with is c that also does what o asks for.
func (c change) with(o change) change {
	c.policy = max(c.policy, o.policy)
	c.sigs = slices.Clone(c.sigs)
	for _, sig := range o.sigs {
		if !slices.Contains(c.sigs, sig) {
			c.sigs = append(c.sigs, sig)
		}
	}
	c.hooks = slices.Clone(c.hooks)
	for _, hook := range o.hooks {
		if !slices.ContainsFunc(c.hooks, func(h []string) bool { return slices.Equal(h, hook) }) {
			c.hooks = append(c.hooks, hook)
		}
	}
	return c
}

// schedule decides when the pending change may be applied.
func (m *machine) schedule(now time.Time) {
	if m.pending.generation == 0 {
		return
	}
	m.plan(now, now.Add(time.Duration(m.cfg.rand()*float64(m.cfg.Splay))))
}

// plan makes the pending change due at the given moment, or later if budget and
// windows want it so, but in time for the end of the values in use.
func (m *machine) plan(now, at time.Time) {
	m.earliest = at
	m.allow(at)
	if m.applyAt.After(now) {
		if m.applyAt.Sub(now) >= waitWorthSaying {
			m.log(slog.LevelInfo, "secrets changed, the change waits", "generation", m.pending.generation, "delay", m.applyAt.Sub(now).Round(time.Second))
		}
		return
	}
	m.applyAt = time.Time{}
	m.due = true
	m.tryApply()
}

// allow finds the moment at or after at that budget and windows allow, or the values in use force.
func (m *machine) allow(at time.Time) {
	m.applyAt = m.cfg.permitted(at, m.rotations)
	if d := m.pending.deadline; !d.IsZero() && d.Before(m.applyAt) {
		m.applyAt = d
	}
}

// lookAtTheWall finds the moment anew where it is chosen by the clock on the wall: that
// may have been set, and runs on while the machine sleeps and our own stands still.
func (m *machine) lookAtTheWall(now time.Time) {
	if len(m.cfg.Windows) > 0 && !m.applyAt.IsZero() && !now.Before(m.earliest) {
		m.allow(now)
	}
}

// waitWorthSaying is how long a change waits before somebody asks why.
const waitWorthSaying = 10 * time.Second

// applyTime: the moment has come, unless it was the end of the values in use that
// made it and they have got more time since, or the window was missed.
func (m *machine) applyTime(now time.Time, deadline time.Time) {
	m.pending.deadline = deadline
	at := m.earliest
	if now.After(at) {
		at = now
	}
	if m.allow(at); m.applyAt.After(now) {
		return
	}
	m.applyAt = time.Time{}
	m.due = true
	m.tryApply()
}
