package supervise

import (
	"context"
	"time"
)

// usable reports whether a Generation can be gone back to.
func (s *Supervisor) usable(id uint64) bool {
	if _, ok := s.gens[id]; !ok {
		return false
	}
	left, ends := s.endsIn(id)
	return !ends || left > 0
}

func (s *Supervisor) endsIn(id uint64) (time.Duration, bool) {
	if g := s.gens[id]; g.EndsIn != nil {
		return g.EndsIn()
	}
	return 0, false
}

// handOverBefore is how long before the end of the values in use a change is due
// whatever it waits for: the program needs time to move over.
const handOverBefore = time.Minute

// deadline is when a change is due in spite of splay, budget and windows; zero = never.
func (s *Supervisor) deadline() time.Time {
	left, ends := s.endsIn(s.m.goal)
	if !ends {
		return time.Time{}
	}
	return s.cfg.clock().Add(max(left-handOverBefore, 0))
}

func (s *Supervisor) receive(ctx context.Context, g Generation) {
	if g.ID == s.newest {
		return
	}
	s.newest = g.ID
	s.gens[g.ID] = g
	for id := range s.gens {
		if !s.needed(id) {
			delete(s.gens, id)
		}
	}
	if s.m.state != waiting { // else everything is new
		s.changed = union(s.changed, g.Changed)
	}
	s.step(ctx, event{kind: evRotate, generation: g.ID, policy: s.possible(g), sigs: g.Signals, hooks: g.Hooks, deadline: s.deadline()})
}

// possible replaces a policy that cannot work by the nearest one that does.
func (s *Supervisor) possible(g Generation) Policy {
	switch p := g.Policy; {
	case p == Overlap && !s.cfg.Ready.proves():
		s.log.Warn("restarting instead of overlapping", "error", errNoProof(s.cfg.Ready.Kind).Error())
		return Restart
	case p == Hook && len(g.Hooks) == 0 && len(s.cfg.Hook) == 0:
		s.log.Warn("restarting instead of running a hook: no hook command named")
		return Restart
	}
	return g.Policy
}

// needed reports whether the machine may still ask for a Generation.
func (s *Supervisor) needed(id uint64) bool {
	switch id {
	case s.newest, s.m.goal, s.m.previous, s.m.pending.generation, s.m.asked.generation,
		s.m.current.generation, s.m.next.generation, s.m.leaving.generation:
		return true
	}
	return false
}

// union appends the strings of b that a lacks.
func union(a, b []string) []string {
	seen := make(map[string]bool, len(a))
	for _, x := range a {
		seen[x] = true
	}
	for _, x := range b {
		if !seen[x] {
			a = append(a, x)
		}
	}
	return a
}
