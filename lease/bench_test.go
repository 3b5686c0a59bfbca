package lease

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envexec/envexec/secret"
)

// benchWorld is a running Store on a fake Vault that answers at once, with n secrets read.
type benchWorld struct {
	*Store
	vault *fakeVault
	w     *Watcher
	reqs  []secret.Request
	value atomic.Int64 // part of every secret's value
	stop  func()
}

func newBenchWorld(tb testing.TB, n int, lease bool) *benchWorld {
	b := &benchWorld{}
	b.vault = &fakeVault{t: tb, start: time.Now(), forget: true, serve: func(c call) reply {
		if lease {
			return leaseAnswer(c.path, 3600, true)
		}
		return kv2Answer(1, map[string]any{"password": fmt.Sprint(c.path, b.value.Load())})
	}}
	s, err := New(Config{Client: b.vault.client(), StaticInterval: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	b.Store, b.w = s, s.Watch()
	for i := range n {
		b.reqs = append(b.reqs, read(fmt.Sprintf("secret/data/team/application-%d", i)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	b.stop = func() { cancel(); <-ended }
	_ = s.WriteToken(ctx, secret.Token{Epoch: 1})
	return b
}

func (b *benchWorld) readAll(tb testing.TB) {
	b.w.Want(b.reqs...)
	for _, r := range b.reqs {
		if _, err := b.w.Get(context.Background(), r); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkFirstRead is a start with n secrets: time per secret must not depend on n.
func BenchmarkFirstRead(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				w := newBenchWorld(b, n, false)
				w.readAll(b)
				w.stop()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/secret")
		})
	}
}

// BenchmarkOneChange gives one of n secrets a new value: the others must cost nothing.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newBenchWorld(b, n, false)
			defer w.stop()
			w.readAll(b)
			<-w.w.Changed()
			w.w.Take()
			key := w.reqs[n/2].Key()
			for b.Loop() {
				w.value.Add(1)
				w.Refresh(key)
				<-w.w.Changed()
				if keys := w.w.Take(); len(keys) != 1 || keys[0] != key {
					b.Fatalf("%d keys changed", len(keys))
				}
			}
		})
	}
}

// TestMemoryPerLease holds 10,000 leases to the budget of 4 KiB each beside their values.
func TestMemoryPerLease(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 10,000 secrets")
	}
	const n, budget = 10000, 4 << 10
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	goroutines := runtime.NumGoroutine()
	before := heap()
	w := newBenchWorld(t, n, true)
	defer w.stop()
	w.readAll(t)
	if got := (heap() - before) / n; got > budget {
		t.Errorf("%d bytes a lease, values included", got)
	} else {
		t.Logf("%d bytes a lease, values included", got)
	}
	if got := runtime.NumGoroutine() - goroutines; got > 2*8+5 {
		t.Errorf("%d goroutines for %d idle leases", got, n)
	}
}
