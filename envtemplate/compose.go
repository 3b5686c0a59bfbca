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
	l.adopt()
	vars, files, err := l.collect()
	switch {
	case err != nil && l.last == nil:
		return true, err
	case err != nil:
		l.log.Error("secrets do not fit together, keeping the last ones", "error", err)
		return false, nil
	}
	l.send(vars, files)
	if l.pending+l.asked == 0 {
		l.reads.release()
	}
	return false, nil
}

// adopt chooses each unit's result for the next Generation: its newest good one,
// unless that would mix two answers that belong together.
func (l *loop) adopt() {
	chosen := make(map[*unit]*result, len(l.units))
	whole := true
	for _, u := range l.units {
		chosen[u] = u.latest
		whole = whole && u.phase == resting && u.err == nil && u.changedAt.IsZero()
	}
	for again := !whole && l.last != nil; again; {
		again = false
		for key, group := range shared(chosen) {
			if !group.mixed {
				continue
			}
			for _, u := range group.units {
				if chosen[u] != u.adopted {
					chosen[u], again = u.adopted, true
					l.log.Debug("result held back until all of one secret are there", "unit", u.name, "secret", string(key))
				}
			}
		}
	}
	for u, r := range chosen {
		u.adopted = r
	}
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
func (l *loop) send(vars environ.Environ, files []RenderedFile) {
	g := Generation{ID: 1, Vars: vars, Files: files, Epoch: l.cfg.Source.Epoch(), write: l.writer.write}
	for _, u := range l.units {
		if e := u.adopted.epoch(); e != 0 && (g.Epoch == 0 || e < g.Epoch) {
			g.Epoch = e
		}
	}
	before := Generation{}
	if l.last != nil {
		before = *l.last
	}
	g.Changed = changedNames(before, g)
	switch {
	case l.last == nil:
	case len(g.Changed) > 0:
		g.ID = before.ID + 1
	case g.Epoch != before.Epoch:
		g.ID = before.ID
	default:
		return
	}
	l.last = &g
	sent := g
	select {
	case unread := <-l.gens:
		sent.Changed = union(unread.Changed, g.Changed)
	default:
	}
	l.gens <- sent
	l.cfg.Trace.generation(sent)
}

func changedNames(before, after Generation) []string {
	names := environ.Changed(before.Vars, after.Vars)
	old := map[string]RenderedFile{}
	for _, f := range before.Files {
		old[f.Path] = f
	}
	for _, f := range after.Files {
		if was, ok := old[f.Path]; !ok || !was.Contents.Equal(f.Contents) {
			names = append(names, f.Path)
		}
		delete(old, f.Path)
	}
	return append(names, slices.Sorted(maps.Keys(old))...)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
