package lease

// lane is where a flight's place is counted.
type lane uint8

const (
	noLane lane = iota
	fastLane
	slowLane
)

// lanes bounds the flights. A flight that turns out slow moves to the slow lane,
// and an entry that was slow last time starts there, so that a few secrets that
// hang cannot keep the others waiting. Callers hold Store.mu.
type lanes struct {
	max     int
	inUse   [3]int
	waiting []*entry // slow entries without a place
}

// enter takes a place, or noLane when there is none.
func (l *lanes) enter(slow bool) lane {
	want := fastLane
	if slow {
		want = slowLane
	}
	if l.inUse[want] >= l.max {
		return noLane
	}
	l.inUse[want]++
	return want
}

// wait queues a slow entry for a place.
func (l *lanes) wait(e *entry) {
	e.phase = held
	l.waiting = append(l.waiting, e)
}

// leave gives a place back and returns the slow entry that waited longest for it, if any.
func (l *lanes) leave(from lane) *entry {
	l.inUse[from]--
	for from == slowLane && len(l.waiting) > 0 {
		e := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		if e.phase == held {
			return e
		}
	}
	return nil
}

// slower moves one flight to the slow lane if that has room.
func (l *lanes) slower() bool {
	if l.inUse[slowLane] >= l.max {
		return false
	}
	l.inUse[fastLane]--
	l.inUse[slowLane]++
	return true
}

// full reports that nothing more can start in the fast lane.
func (l *lanes) full() bool { return l.inUse[fastLane] >= l.max }
