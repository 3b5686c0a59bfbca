package envtemplate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/environ"
)

// compose sends a Generation if there is a new one. done: Run ends, with err.
func (l *loop) compose() (done bool, err error) {
	if !l.touched {
		return false, nil
	}
	if l.pending+l.asked > 0 {
		if l.deadline.IsZero() {
			l.deadline = time.Now().Add(l.cfg.settle)
		}
		if time.Now().Before(l.deadline) {
			return false, nil
		}
	}
	l.deadline, l.touched = time.Time{}, false
	if l.last == nil {
		if err := l.problems(); err != nil {
			return true, err
		}
		if slices.ContainsFunc(l.units, func(u *unit) bool { return u.latest == nil }) {
			return false, nil
		}
	}
	moved := l.adopt()
	g, ok := l.patched(moved)
	if !ok {
		g.Vars, g.Files, err = l.collect()
		if l.unfit = err != nil; err != nil {
			if l.last == nil {
				return true, err
			}
			l.log.Error("secrets do not fit together, keeping the last ones", "error", err)
			return false, nil
		}
		g.Changed = changedNames(l.last, g)
	}
	l.send(g)
	if l.pending+l.asked == 0 {
		l.reads.release()
	}
	return false, nil
}

// move is a unit that gives the next Generation another result than the last.
type move struct {
	u      *unit
	before *result
}

// adopt chooses each unit's result for the next Generation: its newest good one,
// unless that would mix two answers that belong together.
func (l *loop) adopt() []move {
	whole := true
	for _, u := range l.units {
		u.chosen = u.latest
		whole = whole && u.phase == resting && u.err == nil && u.changedAt.IsZero()
	}
	for again := !whole && l.last != nil; again; {
		again = false
		for key, group := range shared(l.units) {
			for _, u := range group.units {
				if group.mixed && u.chosen != u.adopted {
					u.chosen, again = u.adopted, true
					l.log.Debug("result held back until all of one secret are there", "unit", u.name, "secret", string(key))
				}
			}
		}
	}
	var moved []move
	for _, u := range l.units {
		if u.chosen != u.adopted {
			moved = append(moved, move{u, u.adopted})
			u.adopted = u.chosen
		}
	}
	return moved
}

// patched is the last Generation with the moved units' values in it: what happens as
// a rule, at a cost that hardly depends on how many units there are. It does not
// apply where a unit sets other names than before.
func (l *loop) patched(moved []move) (Generation, bool) {
	if l.last == nil || l.unfit {
		return Generation{}, false
	}
	g := Generation{Vars: l.last.Vars, Files: l.last.Files}
	values := map[string]string{}
	var paths []string
	for _, m := range moved {
		if !m.before.sameNames(m.u.adopted) {
			return Generation{}, false
		}
		for name, value := range m.u.adopted.vars {
			if m.before.vars[name] != value {
				values[name] = value
			}
		}
		for i, f := range m.u.adopted.files {
			if f.Contents.Equal(m.before.files[i].Contents) {
				continue
			}
			if len(paths) == 0 {
				g.Files = slices.Clone(g.Files)
			}
			at, _ := slices.BinarySearchFunc(g.Files, f.Path, func(f RenderedFile, path string) int { return strings.Compare(f.Path, path) })
			g.Files[at] = f
			paths = append(paths, f.label())
		}
	}
	if len(values) > 0 {
		g.Vars, _ = g.Vars.Merge(environ.FromMap(values), environ.Override) // only Conflict fails
	}
	slices.Sort(paths)
	g.Changed = append(slices.Sorted(maps.Keys(values)), paths...)
	return g, true
}

// sameNames reports whether both results set the same variables and files.
func (r *result) sameNames(o *result) bool {
	if len(r.vars) != len(o.vars) || len(r.files) != len(o.files) {
		return false
	}
	for name := range o.vars {
		if _, ok := r.vars[name]; !ok {
			return false
		}
	}
	for i, f := range o.files {
		was := r.files[i]
		if was.Path != f.Path || was.Mode != f.Mode || was.User != f.User || was.Group != f.Group {
			return false
		}
	}
	return true
}

// collect puts the adopted results together.
func (l *loop) collect() (environ.Environ, []RenderedFile, error) {
	values, by := map[string]string{}, map[string]*unit{}
	paths := map[string]*unit{}
	var files []RenderedFile
	var problems []error
	for _, u := range l.units {
		for name, value := range u.adopted.vars {
			if other := by[name]; other != nil {
				problems = append(problems, conflict("variable "+name, other, u))
			}
			values[name], by[name] = value, u
		}
		for _, f := range u.adopted.files {
			if other := paths[f.Path]; other != nil {
				problems = append(problems, conflict("file "+f.Path, other, u))
			}
			paths[f.Path] = u
			files = append(files, f)
		}
	}
	vars := environ.FromMap(values)
	if vars.Len() < len(values) { // names that are one to this system
		for name, value := range values {
			if kept, _ := vars.Get(name); kept != value {
				problems = append(problems, fmt.Errorf("variable %s is set twice, in different case", name))
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	slices.SortFunc(files, func(a, b RenderedFile) int { return strings.Compare(a.Path, b.Path) })
	return vars, files, errors.Join(problems...)
}

func conflict(what string, a, b *unit) error {
	return fmt.Errorf("%s is set by both %s and %s", what, a.name, b.name)
}

// send gives the reader what is new; an unread Generation is replaced, its news kept.
func (l *loop) send(g Generation) {
	g.ID, g.write = 1, l.writer.write
	g.Leases, g.NotAfter, g.Epoch = l.needs()
	if now := l.cfg.Source.Epoch(); g.Epoch == 0 || now != 0 && now < g.Epoch {
		g.Epoch = now
	}
	if l.cfg.Origins {
		g.Origins = origins(l.units)
	}
	switch {
	case l.last == nil:
	case len(g.Changed) > 0:
		g.ID = l.last.ID + 1
	case g.Epoch != l.last.Epoch:
		g.ID = l.last.ID
	default:
		return
	}
	l.last = &g
	l.recall.written()
	sent := g
	select {
	case unread := <-l.gens:
		sent.Changed = union(unread.Changed, g.Changed)
	default:
	}
	l.gens <- sent
	l.cfg.Trace.generation(sent)
}

func origins(units []*unit) map[string][]Origin {
	all := map[string][]Origin{}
	for _, u := range units {
		var from []Origin
		for _, r := range u.adopted.made {
			if r.sec != nil {
				from = append(from, Origin{Request: r.req, Version: r.sec.Version, ReadAt: r.sec.ReadAt})
			}
		}
		for name := range u.adopted.vars {
			all[name] = from
		}
		for _, f := range u.adopted.files {
			all[f.Path] = from
		}
	}
	return all
}

// ChangedSince names the variables and files in which g differs from before, be it only a
// file's mode or owner.
func (g Generation) ChangedSince(before Generation) []string {
	names := changedNames(&before, g)
	for _, f := range g.Files {
		i := slices.IndexFunc(before.Files, func(b RenderedFile) bool { return b.Path == f.Path })
		if i < 0 {
			continue
		}
		if b := before.Files[i]; b.Mode != f.Mode || b.User != f.User || b.Group != f.Group {
			names = append(names, f.Path)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// changedNames compares two Generations; before may be nil.
func changedNames(before *Generation, after Generation) []string {
	if before == nil {
		before = &Generation{}
	}
	names := environ.Changed(before.Vars, after.Vars)
	old := map[string]RenderedFile{}
	for _, f := range before.Files {
		old[f.Path] = f
	}
	for _, f := range after.Files {
		if was, ok := old[f.Path]; !ok || !was.Contents.Equal(f.Contents) {
			names = append(names, f.label())
		}
		delete(old, f.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(old)) {
		names = append(names, old[path].label())
	}
	return names
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
