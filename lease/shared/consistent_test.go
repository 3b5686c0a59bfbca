package shared

import "testing"

// consistent checks that all that the Cache holds fits together.
func (c *Cache) consistent(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	must := func(holds bool, what string) {
		t.Helper()
		if !holds {
			t.Errorf("inconsistent: %s", what)
		}
	}
	size, keys, leases := int64(0), 0, 0
	var all []*entry
	for at := c.order.Front(); at != nil; at = at.Next() {
		must(at.Value.(*entry).place == at && at.Value.(*entry).key != "", "what is served to nobody is looked at for room")
		all = append(all, at.Value.(*entry))
	}
	for at := c.aside.Front(); at != nil; at = at.Next() {
		must(at.Value.(*entry).place == at && at.Value.(*entry).key == "", "no room can be made with what is served")
		all = append(all, at.Value.(*entry))
	}
	for _, e := range all {
		size += e.cost()
		must(!e.gone.Load(), "an entry that is gone keeps its place")
		must(e.caller == nil || c.callers[e.caller.token] == e.caller, "an entry's caller is not known")
		if e.caller != nil {
			_, has := e.caller.entries[e]
			must(has, "a caller does not know of an entry")
		}
		if e.key != "" {
			keys++
			must(c.entries[e.key] == e, "an entry's key is another's")
		}
		if e.lease != "" {
			leases++
			must(c.leases[e.lease] == e, "an entry's lease is another's")
		}
		must(e.made == nil || c.callers[e.made.token] == e.made && e.made.creation == e, "a token does not know who told of it")
		must((e.key != "" && e.value == nil) == (e.answer.Load() != nil), "an answer is kept that is served to nobody, or the other way round")
		must((e.value == nil) == (e.Queued() || e.busy), "an entry is not on the schedule, or a ticket is")
		if e.value != nil {
			_, has := e.value.tickets[e]
			must(has && c.values[e.value.key] == e.value, "a ticket admits to nothing")
		}
	}
	must(len(c.entries) == keys && len(c.leases) == leases && c.queue.Len() <= len(all), "something is kept of an entry that is gone")
	for token, k := range c.callers {
		must(k.token == token && !k.gone.Load(), "a token that is gone is known")
		must(k.managed || len(k.entries) > 0 || len(k.children) > 0, "a caller of nothing is known")
		for e := range k.entries {
			must(e.caller == k && !e.gone.Load(), "a caller has an entry that is not its own")
		}
		for child := range k.children {
			must(child.parent == k && !child.gone.Load(), "a child is another's")
		}
		if k.parent != nil {
			_, has := k.parent.children[k]
			must(has && !k.parent.gone.Load(), "a parent does not know its child")
		}
		must(k.creation == nil || k.creation.made == k, "a token was told of by an entry about another")
	}
	for accessor, k := range c.accessors {
		must(k.accessor == accessor && c.callers[k.token] == k, "an accessor of a token that is not known")
	}
	grouped := 0
	for _, v := range c.values {
		a := v.answer.Load()
		must(a != nil && len(v.tickets) > 0, "a secret without an answer, or which nobody may read")
		if a != nil {
			size += a.cost()
		}
		for _, g := range v.groups {
			_, has := c.groups[g][v]
			must(has, "a group does not know its secret")
		}
	}
	for _, g := range c.groups {
		grouped += len(g)
		must(len(g) > 0, "an empty group")
		for v := range g {
			must(c.values[v.key] == v, "a group of a secret that is gone")
		}
	}
	must(c.size == size, "the size is not that of what is kept")
	must(c.size <= c.cfg.MaxBytes || keys == 0, "more is kept than may be")
	if s := c.shelf; s != nil {
		for e := range s.entries {
			_, erased := s.gone[e.name()]
			must(e.gone.Load() || !erased, "an entry is to be written and to be erased")
		}
	}
}
