package environ

import (
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Environ is an environment. The zero value is empty and ready for use; every
// method that changes something returns a new value.
type Environ struct {
	entries map[string]entry // by folded name
	keys    []string         // of entries, sorted; nil = not sorted yet
}

type entry struct{ name, value string }

// From makes an Environ of "NAME=value" strings. Of one name's entries the first
// wins, as getenv has it; strings without a name are left out.
func From(list []string) Environ {
	e := Environ{entries: make(map[string]entry, len(list))}
	for _, s := range list {
		if s == "" {
			continue
		}
		// From the second byte: Windows has names such as "=C:".
		i := strings.IndexByte(s[1:], '=') + 1
		if i == 0 || s[0] == '=' && i == 1 {
			continue
		}
		if _, seen := e.entries[fold(s[:i])]; !seen {
			e.entries[fold(s[:i])] = entry{s[:i], s[i+1:]}
		}
	}
	return e
}

// FromMap makes an Environ of a map. Of names that differ only in a case the system
// ignores, the one that sorts last wins.
func FromMap(m map[string]string) Environ {
	e := Environ{entries: make(map[string]entry, len(m))}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		e.entries[fold(name)] = entry{name, m[name]}
	}
	e.keys = e.order()
	return e
}

// Get returns the value of name and whether it is set.
func (e Environ) Get(name string) (string, bool) {
	v, ok := e.entries[fold(name)]
	return v.value, ok
}

// Len is the number of variables.
func (e Environ) Len() int { return len(e.entries) }

// All yields names and values in the order of the names.
func (e Environ) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, v := range e.sorted() {
			if !yield(v.name, v.value) {
				return
			}
		}
	}
}

// Names returns the sorted names.
func (e Environ) Names() []string {
	names := make([]string, 0, len(e.entries))
	for _, v := range e.sorted() {
		names = append(names, v.name)
	}
	return names
}

// List returns "NAME=value" strings sorted by name, as exec wants them. It is the
// one road by which values leave together.
func (e Environ) List() []string {
	list := make([]string, 0, len(e.entries))
	for _, v := range e.sorted() {
		list = append(list, v.name+"="+v.value)
	}
	return list
}

// Set returns e with name set to value. To set many, build them with FromMap and Merge.
func (e Environ) Set(name, value string) Environ {
	c, _ := e.Merge(Environ{entries: map[string]entry{fold(name): {name, value}}}, Override) // only Conflict fails
	return c
}

// Policy decides what Merge does with a name both sides have.
type Policy uint8

const (
	// Override lets the merged-in value win.
	Override Policy = iota
	// KeepFirst lets the value already there win.
	KeepFirst
	// Conflict makes it an error.
	Conflict
)

// Merge returns e with over's variables added. Under Conflict it fails if a name is
// in both; the error is a *ConflictError.
func (e Environ) Merge(over Environ, p Policy) (Environ, error) {
	c := e.clone(len(over.entries))
	var both []string
	for key, v := range over.entries {
		_, taken := c.entries[key]
		if taken && p == Conflict {
			both = append(both, v.name)
		}
		if !taken || p == Override {
			c.entries[key] = v
		}
	}
	if both != nil {
		slices.Sort(both)
		return e, &ConflictError{Names: both}
	}
	c.keys = union(e.order(), over.order())
	return c, nil
}

// ConflictError names the variables two sources both set.
type ConflictError struct{ Names []string }

// Error lists the names.
func (e *ConflictError) Error() string {
	return "variables set twice: " + strings.Join(e.Names, ", ")
}

// Strip returns e without the variables that match one of patterns: a name, or a
// name with * in it.
func (e Environ) Strip(patterns ...string) Environ { return e.filter(patterns, false) }

// Keep returns only the variables of e that match one of patterns.
func (e Environ) Keep(patterns ...string) Environ { return e.filter(patterns, true) }

func (e Environ) filter(patterns []string, keep bool) Environ {
	c := Environ{entries: make(map[string]entry, len(e.entries))}
	for key, v := range e.entries {
		if Matches(v.name, patterns...) == keep {
			c.entries[key] = v
		}
	}
	return c
}

// Changed returns the sorted names whose value differs between before and after,
// including those only one of them has.
func Changed(before, after Environ) []string {
	var names []string
	for key, v := range after.entries {
		if old, ok := before.entries[key]; !ok || old.value != v.value {
			names = append(names, v.name)
		}
	}
	for key, v := range before.entries {
		if _, ok := after.entries[key]; !ok {
			names = append(names, v.name)
		}
	}
	slices.Sort(names)
	return names
}

// Format prints the number of variables, whatever the verb.
func (e Environ) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[%d variables]", len(e.entries))
}

// LogValue prints the names.
func (e Environ) LogValue() slog.Value { return slog.AnyValue(e.Names()) }

// MarshalText keeps values out of JSON.
func (e Environ) MarshalText() ([]byte, error) {
	return fmt.Append(nil, e), nil
}

func (e Environ) clone(room int) Environ {
	c := Environ{entries: make(map[string]entry, len(e.entries)+room)}
	maps.Copy(c.entries, e.entries)
	return c
}

// order returns the sorted keys. They are folded: as CreateProcess wants it.
func (e Environ) order() []string {
	if e.keys != nil || len(e.entries) == 0 {
		return e.keys
	}
	keys := make([]string, 0, len(e.entries))
	for key := range e.entries {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// union merges two sorted lists; a itself comes back when b adds nothing.
func union(a, b []string) []string {
	if !slices.ContainsFunc(b, func(key string) bool { _, has := slices.BinarySearch(a, key); return !has }) {
		return a
	}
	all := make([]string, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := strings.Compare(a[0], b[0]); {
		case c < 0:
			all, a = append(all, a[0]), a[1:]
		case c > 0:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
}

func (e Environ) sorted() []entry {
	keys := e.order()
	all := make([]entry, len(keys))
	for i, key := range keys {
		all[i] = e.entries[key]
	}
	return all
}
