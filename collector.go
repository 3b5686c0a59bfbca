package main

import (
	"runtime/debug"
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
	time.AfterFunc(collectorRest, func() {
		debug.SetGCPercent(usual)
		debug.SetMemoryLimit(unlimited)
	})
}
