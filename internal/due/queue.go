package due

import "time"

// Moment is when an item is due and where it is queued. Embed it in the item.
// The zero value is in no queue. An item can be in one queue only.
type Moment struct {
	At    time.Duration
	place int // index + 1; 0 = in no queue
}

// Due returns m itself, so that whoever embeds a Moment is an Item.
func (m *Moment) Due() *Moment { return m }

// Queued reports whether the item is in a queue.
func (m *Moment) Queued() bool { return m.place > 0 }

// Item is a pointer to a struct that embeds a Moment.
type Item interface {
	comparable
	Due() *Moment
}

// Queue orders items by their moment, a binary heap. The zero value is empty.
// It is not safe for concurrent use.
type Queue[E Item] struct{ items []E }

// Len returns how many items are queued.
func (q *Queue[E]) Len() int { return len(q.items) }

// Set puts e where its moment says, whether or not it is queued already.
func (q *Queue[E]) Set(e E) {
	m := e.Due()
	if m.place == 0 {
		q.items = append(q.items, e)
		m.place = len(q.items)
	}
	q.down(q.up(m.place - 1))
}

// Remove takes e out; nothing happens when it is not in.
func (q *Queue[E]) Remove(e E) {
	m := e.Due()
	if m.place == 0 {
		return
	}
	i, last := m.place-1, len(q.items)-1
	q.swap(i, last)
	var none E
	q.items[last], q.items = none, q.items[:last]
	m.place = 0
	if i < last {
		q.down(q.up(i))
	}
}

// First returns the item due next; ok is false when there is none.
func (q *Queue[E]) First() (e E, ok bool) {
	if len(q.items) == 0 {
		return e, false
	}
	return q.items[0], true
}

func (q *Queue[E]) before(i, j int) bool { return q.items[i].Due().At < q.items[j].Due().At }

func (q *Queue[E]) swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].Due().place, q.items[j].Due().place = i+1, j+1
}

func (q *Queue[E]) up(i int) int {
	for i > 0 && q.before(i, (i-1)/2) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (q *Queue[E]) down(i int) {
	for {
		child := 2*i + 1
		if child+1 < len(q.items) && q.before(child+1, child) {
			child++
		}
		if child >= len(q.items) || !q.before(child, i) {
			return
		}
		q.swap(i, child)
		i = child
	}
}
