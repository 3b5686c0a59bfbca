package main

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/environ"
)

func TestCollectorRestsUntilTheProgramRuns(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	was, limit := percent(), debug.SetMemoryLimit(-1)
	synctest.Test(t, func(t *testing.T) {
		for name, env := range map[string]struct {
			env     []string
			start   time.Duration // 0 = never
			resting time.Duration
		}{
			"a start":         {start: time.Second, resting: time.Second + collectorAfter},
			"a slow start":    {resting: collectorRest},
			"another's limit": {env: []string{"GOMEMLIMIT=1GiB"}},
		} {
			began := time.Now()
			started := restCollector(environ.From(env.env))
			if env.start > 0 {
				time.AfterFunc(env.start, started)
			}
			for percent() == -1 {
				time.Sleep(100 * time.Millisecond)
			}
			if took := time.Since(began); took < env.resting || took > env.resting+100*time.Millisecond {
				t.Errorf("%s: rested for %v, not %v", name, took, env.resting)
			}
			time.Sleep(2 * collectorRest)
			if percent() != was || debug.SetMemoryLimit(-1) != limit {
				t.Errorf("%s: not as before", name)
			}
		}
	})
}
