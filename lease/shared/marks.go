package shared

import (
	"hash/maphash"
	"sync/atomic"
)

// marks tells whether something happened since a moment: counters of writes by the
// names they may concern, and of what concerns everything. A collision of names only
// costs a hit.
type marks struct {
	seed    maphash.Seed
	writes  [256]atomic.Uint32
	all     atomic.Uint32
	revoked atomic.Uint32
	shy     [4096]atomic.Uint64 // paths that gave nothing to keep
}

func (m *marks) slot(kind byte, name string) uint64 {
	return maphash.String(m.seed, name) + uint64(kind)
}

// write notes a write below full.
func (m *marks) write(full string) {
	m.writes[m.slot('f', firstSegment(full))%256].Add(1)
	m.writes[m.slot('l', lastSegment(full))%256].Add(1)
}

// moment is a state of the marks.
type moment struct{ first, last, all, revoked uint32 }

func (m *marks) now(full string) moment {
	return moment{
		first: m.writes[m.slot('f', firstSegment(full))%256].Load(), last: m.writes[m.slot('l', lastSegment(full))%256].Load(),
		all: m.all.Load(), revoked: m.revoked.Load(),
	}
}

// joinable: nothing was written anywhere near since.
func (then moment) joinable(now moment) bool { return then == now }

// creatable: nothing was revoked and no right changed since.
func (then moment) creatable(now moment) bool {
	return then.all == now.all && then.revoked == now.revoked
}

// storableKV: nothing was written to this secret, and no right changed since.
func (then moment) storableKV(now moment) bool {
	return then.last == now.last && then.creatable(now)
}

// storableLease: nothing was revoked since.
func (then moment) storableLease(now moment) bool { return then.revoked == now.revoked }

// barren notes whether full gave nothing to keep.
func (m *marks) barren(full string, nothing bool) {
	h := m.slot('s', full) | 1
	place := &m.shy[h>>1%uint64(len(m.shy))]
	if nothing {
		place.Store(h)
	} else if place.Load() == h {
		place.Store(0)
	}
}

func (m *marks) isBarren(full string) bool {
	h := m.slot('s', full) | 1
	return m.shy[h>>1%uint64(len(m.shy))].Load() == h
}
