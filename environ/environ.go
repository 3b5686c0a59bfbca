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
//
// It is a sorted list, not a map: of many thousands of variables one changes at a
// time, and a list is copied, merged and handed to exec at next to no cost.
type Environ struct {
	list []entry // sorted by key, each key once
}

type entry struct {
	key  string // the folded name; sorted by it, as CreateProcess wants it
	pair string // NAME=value
	name int    // length of the name
}

func newEntry(pair string, name int) entry { return entry{fold(pair[:name]), pair, name} }

func (v entry) split() (name, value string) { return v.pair[:v.name], v.pair[v.name+1:] }

func byKey(a, b entry) int { return strings.Compare(a.key, b.key) }

// sorted makes an Environ of list; of one key's entries the first wins.
func sorted(list []entry) Environ {
	slices.SortStableFunc(list, byKey)
	return Environ{slices.CompactFunc(list, func(a, b entry) bool { return a.key == b.key })}
}

// From makes an Environ of "NAME=value" strings. Of one name's entries the first
// wins, as getenv has it; strings without a name are left out.
func From(pairs []string) Environ {
	list := make([]entry, 0, len(pairs))
	for _, s := range pairs {
		if s == "" {
			continue
		}
		// From the second byte: Windows has names such as "=C:".
		i := strings.IndexByte(s[1:], '=') + 1
		if i == 0 || s[0] == '=' && i == 1 {
			continue
		}
		list = append(list, newEntry(s, i))
	}
	return sorted(list)
}

// FromMap makes an Environ of a map. Of names that differ only in a case the system
// ignores, the one that sorts last wins.
func FromMap(m map[string]string) Environ {
	list := make([]entry, 0, len(m))
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(m))) {
		list = append(list, newEntry(name+"="+m[name], len(name)))
	}
	return sorted(list)
}

// find returns where key is, or would be.
func (e Environ) find(key string) (int, bool) {
	return slices.BinarySearchFunc(e.list, key, func(v entry, key string) int { return strings.Compare(v.key, key) })
}

// Get returns the value of name and whether it is set.
func (e Environ) Get(name string) (value string, set bool) {
	i, set := e.find(fold(name))
	if set {
		_, value = e.list[i].split()
	}
	return value, set
}

// Len is the number of variables.
func (e Environ) Len() int { return len(e.list) }

// All yields names and values in the order of the names.
func (e Environ) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, v := range e.list {
			if !yield(v.split()) {
				return
			}
		}
	}
}

// Names returns the sorted names.
func (e Environ) Names() []string {
	names := make([]string, len(e.list))
	for i, v := range e.list {
		names[i] = v.pair[:v.name]
	}
	return names
}

// List returns "NAME=value" strings sorted by name, as exec wants them. It is the
// one road by which values leave together.
func (e Environ) List() []string {
	pairs := make([]string, len(e.list))
	for i, v := range e.list {
		pairs[i] = v.pair
	}
	return pairs
}

// Set returns e with name set to value. To set many, build them with FromMap and Merge.
func (e Environ) Set(name, value string) Environ {
	c, _ := e.Merge(Environ{[]entry{newEntry(name+"="+value, len(name))}}, Override) // only Conflict fails
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
	all := make([]entry, 0, len(e.list)+len(over.list))
	rest := e
	var both []string
	for _, v := range over.list {
		at, taken := rest.find(v.key)
		all = append(all, rest.list[:at]...)
		rest.list = rest.list[at:]
		if taken {
			if p == Conflict {
				both = append(both, v.pair[:v.name])
			}
			if p == KeepFirst {
				v = rest.list[0]
			}
			rest.list = rest.list[1:]
		}
		all = append(all, v)
	}
	if both != nil {
		slices.Sort(both)
		return e, &ConflictError{Names: both}
	}
	return Environ{append(all, rest.list...)}, nil
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
	var c Environ
	for _, v := range e.list {
		if Matches(v.pair[:v.name], patterns...) == keep {
			c.list = append(c.list, v)
		}
	}
	return c
}

// Changed returns the sorted names whose value differs between before and after,
// including those only one of them has.
func Changed(before, after Environ) []string {
	var names []string
	for _, v := range after.list {
		name, value := v.split()
		if old, ok := before.Get(name); !ok || old != value {
			names = append(names, name)
		}
	}
	for _, v := range before.list {
		if _, ok := after.find(v.key); !ok {
			names = append(names, v.pair[:v.name])
		}
	}
	slices.Sort(names)
	return names
}

// Format prints the number of variables, whatever the verb.
func (e Environ) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[%d variables]", len(e.list))
}

// LogValue prints the names.
func (e Environ) LogValue() slog.Value { return slog.AnyValue(e.Names()) }

// MarshalText keeps values out of JSON.
func (e Environ) MarshalText() ([]byte, error) {
	return fmt.Append(nil, e), nil
}
