package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/envexec/envexec/environ"
)

const (
	collectorRest  = 5 * time.Second        // at most
	collectorAfter = 500 * time.Millisecond // the program's first start, which has the processor first
	collectorLimit = 64 << 20               // bytes
	collectorWorth = 8 << 20                // bytes
)

// restCollector keeps the garbage collector out of the start: with many secrets it
// took a third of our processor time there, for memory that a start needs only once.
// It works as usual soon after started is called for the first time, or when the start
// takes too long; the start's memory is given back then. Who sets GOGC or GOMEMLIMIT
// knows better.
func restCollector(env environ.Environ) (started func()) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := env.Get(name); set {
			return func() {}
		}
	}
	usual, unlimited := debug.SetGCPercent(-1), debug.SetMemoryLimit(collectorLimit)
	work := sync.OnceFunc(func() {
		debug.SetGCPercent(usual)
		debug.SetMemoryLimit(unlimited)
	})
	over := sync.OnceFunc(func() {
		work()
		// Where there is little to give back, looking for it costs more than it brings.
		heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		if metrics.Read(heap); heap[0].Value.Uint64() > collectorWorth {
			debug.FreeOSMemory()
		}
	})
	time.AfterFunc(collectorRest, over)
	// A start that needs more than the limit would collect without end: the first
	// collection, which takes this away, ends the rest.
	runtime.AddCleanup(new([64]byte), func(func()) { work() }, work)
	return sync.OnceFunc(func() { time.AfterFunc(collectorAfter, over) })
}
