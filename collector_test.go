package main

import (
	"runtime"
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

func TestRoomForGarbage(t *testing.T) {
	goal := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.NextGC
	}
	was := goal()
	room := roomForGarbage(environ.From(nil))
	with := goal()
	runtime.KeepAlive(room) // and not used from here on
	if with < was+listenerRoom {
		t.Errorf("the heap's goal is %d bytes with room for garbage, %d without", with, was)
	}
	if after := goal(); after >= with {
		t.Errorf("the heap's goal is %d bytes after the room is gone, %d with it", after, with)
	}
	for _, set := range []string{"GOGC=100", "GOMEMLIMIT=1GiB"} {
		if roomForGarbage(environ.From([]string{set})) != nil {
			t.Errorf("%s is not heeded", set)
		}
	}
}
