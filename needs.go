package main

import (
	"maps"
	"time"

	"github.com/envexec/envexec/envtemplate"
)

// need is what a generation's values depend on.
type need struct {
	epoch    uint64 // oldest login
	leases   []string
	notAfter time.Time // of its certificates; zero = none
}

// endsIn tells how long a generation's values still work; false = no end is known.
func (v *vaultSide) endsIn(id uint64) (left time.Duration, ends bool) {
	if v == nil {
		return 0, false
	}
	v.mu.Lock()
	n := v.needs[id]
	v.mu.Unlock()
	first := func(rest time.Duration, mortal bool) {
		if mortal && (!ends || rest < left) {
			left, ends = rest, true
		}
	}
	if len(n.leases) > 0 {
		first(v.store.EndsIn(n.leases...))
	}
	if len(n.leases) > 0 && n.epoch > 0 { // else they are the sealed cache's, from before any login
		first(v.session.EndsIn(n.epoch))
	}
	if !n.notAfter.IsZero() {
		first(max(time.Until(n.notAfter), 0), true)
	}
	return left, ends
}

// remember notes what a generation needs, and lets go of older logins at once when
// its program is up already: a new login that changed nothing.
func (v *vaultSide) remember(g envtemplate.Generation) {
	if v == nil {
		return
	}
	v.mu.Lock()
	v.needs[g.ID] = need{g.Epoch, g.Leases, g.NotAfter}
	up := v.settled == g.ID
	v.mu.Unlock()
	if up {
		v.retire(g.Epoch)
	}
}

// settle says that a generation's program is safely up: what only older ones
// needed may be revoked.
func (v *vaultSide) settle(id uint64) {
	if v == nil {
		return
	}
	v.mu.Lock()
	v.settled = id
	epoch := v.needs[id].epoch
	maps.DeleteFunc(v.needs, func(old uint64, _ need) bool { return old < id })
	v.mu.Unlock()
	v.retire(epoch)
}

// retire gives up the logins before epoch, but for those that leases of the
// listeners' clients still hang on.
func (v *vaultSide) retire(epoch uint64) {
	if v.session == nil {
		return
	}
	if held := v.tokens.epoch(); held != 0 {
		epoch = min(epoch, held)
	}
	v.store.Retire(epoch)
	v.session.Retire(epoch)
}

// leased counts the secrets that end with their login.
func (v *vaultSide) leased() (n int) {
	if v.store == nil {
		return 0
	}
	for _, e := range v.store.Status() {
		if e.Epoch != 0 {
			n++
		}
	}
	return n
}
