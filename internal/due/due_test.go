package due

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type item struct {
	Moment
	name int
}

func TestQueueOrdersWhateverIsDoneToIt(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var q Queue[*item]
		var in []*item
		for i := range 1 + rng.IntN(40) {
			e := &item{name: i}
			e.At = time.Duration(rng.IntN(50))
			q.Set(e)
			in = append(in, e)
		}
		for _, e := range in {
			switch rng.IntN(4) {
			case 0:
				e.At = time.Duration(rng.IntN(50))
				q.Set(e)
			case 1:
				q.Remove(e)
				q.Remove(e)
			}
		}
		in = slices.DeleteFunc(in, func(e *item) bool { return !e.Queued() })
		if q.Len() != len(in) {
			t.Fatalf("%d items queued, want %d", q.Len(), len(in))
		}
		slices.SortStableFunc(in, func(a, b *item) int { return int(a.At - b.At) })
		for _, want := range in {
			e, ok := q.First()
			if !ok || e.At != want.At {
				t.Fatalf("first is due at %v, want %v", e.At, want.At)
			}
			q.Remove(e)
		}
		if _, ok := q.First(); ok {
			t.Fatal("an emptied queue has a first item")
		}
	}
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	for _, tt := range []struct {
		n           int
		limit, wish time.Duration
		low, high   time.Duration
	}{
		{1, 0, 0, 500 * time.Millisecond, time.Second},
		{2, 0, 0, 500 * time.Millisecond, 2 * time.Second},
		{4, 0, 0, 500 * time.Millisecond, 8 * time.Second},
		{99, 0, 0, 500 * time.Millisecond, time.Minute},
		{99, 5 * time.Second, 0, 500 * time.Millisecond, 5 * time.Second},
		{1, time.Millisecond, 0, 500 * time.Millisecond, time.Second},
		{1, 0, 10 * time.Second, 10 * time.Second, 11 * time.Second},
		{1, 0, time.Hour, MaxWish, MaxWish + MaxWish/10},
	} {
		for _, r := range []float64{0, 0.5, 0.999999} {
			b := Backoff{Min: time.Second, Max: time.Minute, Random: func() float64 { return r }}
			if d := b.Wait(tt.n, tt.limit, tt.wish); d < tt.low || d > tt.high {
				t.Errorf("pause %d (limit %v, wish %v, random %v) = %v, want %v to %v", tt.n, tt.limit, tt.wish, r, d, tt.low, tt.high)
			}
		}
	}
}
