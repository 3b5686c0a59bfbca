package supervise

import "context"

func (s *Supervisor) usable(id uint64) bool {
	g, ok := s.gens[id]
	return ok && (g.Usable == nil || g.Usable())
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
	s.changed = union(s.changed, g.Changed)
	s.step(ctx, event{kind: evRotate, generation: g.ID, policy: s.possible(g), sig: g.Signal, hook: g.Hook, deadline: g.Deadline})
}

// possible replaces a policy that cannot work by the nearest one that does.
func (s *Supervisor) possible(g Generation) Policy {
	switch p := g.Policy; {
	case p == Overlap && !s.cfg.Ready.proves():
		s.log.Warn("restarting instead of overlapping", "error", errNoProof(s.cfg.Ready.Kind).Error())
		return Restart
	case p == Hook && len(g.Hook) == 0 && len(s.cfg.Hook) == 0:
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
