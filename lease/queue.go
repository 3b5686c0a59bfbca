package lease

import "container/heap"

// queue orders entries by the moment they are due. Callers hold Store.mu.
type queue struct{ h entryHeap }

// set puts e where e.at says, whether or not it is queued already.
func (q *queue) set(e *entry) {
	if e.place >= 0 {
		heap.Fix(&q.h, e.place)
		return
	}
	heap.Push(&q.h, e)
}

// remove takes e out; nothing happens when it is not in.
func (q *queue) remove(e *entry) {
	if e.place >= 0 {
		heap.Remove(&q.h, e.place)
	}
}

// first returns the entry due next, or nil.
func (q *queue) first() *entry {
	if len(q.h) == 0 {
		return nil
	}
	return q.h[0]
}

type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *entryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.place = -1
	return e
}
