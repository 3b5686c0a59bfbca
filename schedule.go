package main

import (
	"maps"
	"slices"
)

// namedPerLine is how many secrets the announcement of a schedule names.
const namedPerLine = 8

// schedule says, when everything has been read, what will be done with it from now on:
// one line for each schedule. Once is: nothing but to keep leases alive.
func (v *vaultSide) schedule(once bool) {
	switch {
	case v == nil || v.store == nil:
		return
	case once:
		v.store.Freeze()
		return
	}
	by := map[string][]string{}
	for _, e := range v.secretStates() {
		by[e.Schedule] = append(by[e.Schedule], e.Request)
	}
	for _, schedule := range slices.Sorted(maps.Keys(by)) {
		names := by[schedule]
		v.log.Info("secrets are kept up to date", "schedule", schedule, "count", len(names),
			"secrets", names[:min(len(names), namedPerLine)])
	}
}
