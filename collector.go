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
	listenerRoom   = 16 << 20               // bytes
)

// restCollector keeps the garbage collector out of the start: with many secrets it
// took a third of our processor time there, for memory that a start needs only once.
// It works as usual soon after started is called for the first time, or when the start
// takes too long; the start's memory is given back then.
func restCollector(env environ.Environ) (started func()) {
	if collectorSettled(env) {
		return func() {}
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

// roomForGarbage makes the heap's goal twice what lives and listenerRoom more, for as
// long as what it returns is reachable: a listener's small heap would be collected a
// hundred times a second under load. Nobody touches these bytes, so they never become
// resident, and the garbage stays bounded however much lives. nil where GOGC or
// GOMEMLIMIT are set.
func roomForGarbage(env environ.Environ) []byte {
	if collectorSettled(env) {
		return nil
	}
	return make([]byte, listenerRoom)
}

// collectorSettled: who sets these knows better.
func collectorSettled(env environ.Environ) bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := env.Get(name); set {
			return true
		}
	}
	return false
}
