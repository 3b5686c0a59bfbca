package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/envexec/envexec/environ"
)

const (
	collectorRest  = 5 * time.Second
	collectorLimit = 64 << 20 // bytes
)

// restCollector keeps the garbage collector out of the start: with many secrets it
// took a third of our processor time there, for memory that a start needs only once.
// It works as usual once the start is over. Who sets GOGC or GOMEMLIMIT knows better.
func restCollector(env environ.Environ) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := env.Get(name); set {
			return
		}
	}
	usual, unlimited := debug.SetGCPercent(-1), debug.SetMemoryLimit(collectorLimit)
	work := sync.OnceFunc(func() {
		debug.SetGCPercent(usual)
		debug.SetMemoryLimit(unlimited)
	})
	time.AfterFunc(collectorRest, work)
	// A start that needs more than the limit would collect without end: the first
	// collection, which takes this away, ends the rest.
	runtime.AddCleanup(new([64]byte), func(func()) { work() }, work)
}
