package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/signals"
)

func TestStatusIsTheProgramsOwn(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		p := th.program()
		if !p.has("GEN=1") || !p.has("ENVEXEC_GENERATION=1") {
			t.Errorf("environment %q", p.env)
		}
		p.exit(Status{Code: 7})
		th.ends(Status{Code: 7})
		if !p.reaped {
			t.Error("the program was not reaped")
		}
	})
}

func TestBurstOfChangesIsOneRestart(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		first := th.program()
		for id := uint64(2); id < 20; id++ {
			th.generation(id, "A")
		}
		second := th.program()
		if !second.has("GEN=19") || <-first.signals != syscall.SIGTERM {
			t.Errorf("restarted with %q", second.env)
		}
		second.exit(Status{})
		th.ends(Status{})
		if n := th.host.starts(); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestSameGenerationAgainDoesNothing(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		p := th.program()
		th.generation(1)
		th.generation(1)
		time.Sleep(time.Minute)
		p.exit(Status{})
		th.ends(Status{})
	})
}

func TestSettledComesAfterMinUptime(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		th.program()
		begun := time.Now()
		if id := <-th.sup.Settled(); id != 1 || time.Since(begun) != 10*time.Second {
			t.Errorf("generation %d settled after %v", id, time.Since(begun))
		}
		th.generation(2, "A")
		p := th.program()
		if id := <-th.sup.Settled(); id != 2 {
			t.Errorf("generation %d settled", id)
		}
		p.exit(Status{})
		th.ends(Status{})
		if id, open := <-th.sup.Settled(); open {
			t.Errorf("Settled is still open and yields %d", id)
		}
	})
}

func TestStopSignalBeforeTheFirstGeneration(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGTERM})
	})
}

func TestContextEndsBeforeTheFirstGeneration(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.cancel()
		got := <-th.result
		if !errors.Is(got.err, context.Canceled) {
			t.Errorf("Run returns %v", got.err)
		}
		th.result <- got
	})
}

func TestNoGenerationAtAll(t *testing.T) {
	play(t, nil, func(th *theatre) {
		close(th.gens)
		got := <-th.result
		if !errors.Is(got.err, ErrNoGeneration) {
			t.Errorf("Run returns %v", got.err)
		}
		th.result <- got
	})
}

func TestContextStopsTheProgram(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		p := th.program()
		p.stubborn = true
		synctest.Wait()
		begun := time.Now()
		th.cancel()
		th.ends(Status{Signal: syscall.SIGKILL})
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("killed after %v", took)
		}
	})
}

func TestTermIsNotDelayedByABurst(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		p := th.program()
		synctest.Wait()
		for range 50 {
			th.sigs.rest <- winch
		}
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGTERM})
		close(p.signals)
		var got []syscall.Signal
		for sig := range p.signals {
			got = append(got, sig)
		}
		if len(got) != 51 || got[50] != syscall.SIGTERM {
			t.Errorf("the program got %v", got)
		}
	})
}

func TestSignalMapAndTakenSignals(t *testing.T) {
	if !signals.CanForward(syscall.SIGHUP) {
		t.Skip("no signal HUP here")
	}
	taken := 0
	play(t, func(c *Config) {
		c.SignalMap = map[syscall.Signal]syscall.Signal{syscall.SIGINT: 0, syscall.SIGTERM: syscall.SIGQUIT}
		c.Taken = map[syscall.Signal]func(){syscall.SIGHUP: func() { taken++ }}
	}, func(th *theatre) {
		th.generation(1)
		p := th.program()
		synctest.Wait()
		th.sigs.int <- syscall.SIGINT
		th.sigs.hup <- syscall.SIGHUP
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGQUIT})
		if got := <-p.signals; got != syscall.SIGQUIT || len(p.signals) != 0 {
			t.Errorf("the program got %v first and %d more", got, len(p.signals))
		}
	})
	if taken != 1 {
		t.Errorf("the taken signal was called %d times", taken)
	}
}

func TestSlowFilesDelayNoSignal(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.gens <- Generation{ID: 1, Prepare: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		synctest.Wait()
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGTERM})
		if n := th.host.starts(); n != 0 {
			t.Errorf("%d programs were started", n)
		}
	})
}

func TestFilesAreWrittenOncePerStartAndBeforeTheSignal(t *testing.T) {
	var order []string
	prepare := func(name string) func(context.Context) error {
		return func(context.Context) error { order = append(order, name); return nil }
	}
	play(t, func(c *Config) {
		c.OnChange = Signal
		c.Trace.Signaled = func(syscall.Signal) { order = append(order, "signal") }
		c.Trace.Started = func(int, uint64) { order = append(order, "start") }
	}, func(th *theatre) {
		th.gens <- Generation{ID: 1, Prepare: prepare("files 1")}
		p := th.program()
		th.gens <- Generation{ID: 2, Prepare: prepare("files 2")}
		<-p.signals
		p.exit(Status{})
		th.ends(Status{})
	})
	if want := []string{"files 1", "start", "files 2", "signal"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

func TestFirstStartFails(t *testing.T) {
	want := &StartError{Program: "app", Code: 126, Err: syscall.E2BIG}
	play(t, nil, func(th *theatre) {
		th.host.fail = []error{want}
		th.generation(1)
		got := <-th.result
		var se *StartError
		if !errors.As(got.err, &se) || se.Code != 126 {
			t.Errorf("Run returns %v", got.err)
		}
		th.result <- got
	})
}

func TestForkFailsForAWhile(t *testing.T) {
	busy := transientError{&StartError{Program: "app", Code: 126, Err: syscall.EAGAIN}}
	play(t, nil, func(th *theatre) {
		th.host.fail = []error{busy, busy, busy}
		th.generation(1)
		th.program().exit(Status{})
		th.ends(Status{})
	})
}

func TestRestartWaitsForWhatTheOldOneLeft(t *testing.T) {
	play(t, nil, func(th *theatre) {
		th.generation(1)
		p := th.program()
		p.cleaned = 3 * time.Second
		th.generation(2)
		begun := time.Now()
		th.program().exit(Status{})
		if took := time.Since(begun); took < 3*time.Second {
			t.Errorf("the new program started %v after the change, beside what the old one left", took)
		}
		th.ends(Status{})
	})
}

func TestUnusableGenerationIsNotRolledBackTo(t *testing.T) {
	for _, usable := range []bool{true, false} {
		play(t, nil, func(th *theatre) {
			var ended atomic.Bool
			th.gens <- Generation{ID: 1, Env: []string{"GEN=1"}, EndsIn: func() (time.Duration, bool) {
				if ended.Load() {
					return 0, true
				}
				return time.Hour, true
			}}
			th.program()
			th.generation(2)
			p := th.program()
			if !usable {
				ended.Store(true)
			}
			p.exit(failed)
			if !usable {
				th.ends(failed)
				return
			}
			p = th.program()
			if !p.has("GEN=1") {
				t.Errorf("after the failure a program with %q", p.env)
			}
			p.exit(Status{})
			th.ends(Status{})
		})
	}
}

func TestOldGenerationsAreForgotten(t *testing.T) {
	play(t, func(c *Config) { c.OnChange = None }, func(th *theatre) {
		th.generation(1)
		p := th.program()
		for id := uint64(2); id < 100; id++ {
			th.generation(id)
			time.Sleep(time.Minute)
		}
		p.exit(Status{})
		th.ends(Status{})
		if n := len(th.sup.gens); n > 4 {
			t.Errorf("%d generations are remembered", n)
		}
	})
}

func TestNewJoinsProblems(t *testing.T) {
	_, err := New(Config{
		Command: []string{"/nonexistent/app"}, OnChange: Overlap, Quiet: time.Minute,
		Taken: map[syscall.Signal]func(){syscall.SIGKILL: func() {}}, Crash: Crash{Limit: -1},
		Budget: Budget{N: 1}, Windows: []Window{{}}, Sockets: []Socket{{Name: "a:b"}, {Name: "x", Network: "ipx"}},
	})
	var se *StartError
	if !errors.As(err, &se) || se.Code != 127 {
		t.Fatalf("New returns %v", err)
	}
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // the outermost
	if !ok || len(joined.Unwrap()) < 2 {
		t.Fatalf("New returns one problem only: %v", err)
	}
	for _, want := range []string{"overlap", "quiet", "KILL", "limit", "budget", "window", "a:b", "ipx"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in %q", want, err)
		}
	}
}

// A window that opens too late must not leave the program with values that have
// ended; values that got more time in between wait for it all the same.
func TestEndOfTheValuesInUseBeatsTheWindow(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		play(t, func(c *Config) {
			c.Windows = []Window{{From: 6 * time.Hour, Length: time.Hour}} // the bubble begins at midnight
		}, func(th *theatre) {
			begun := time.Now()
			var life atomic.Int64
			life.Store(int64(time.Hour))
			th.gens <- Generation{ID: 1, EndsIn: func() (time.Duration, bool) { return time.Until(begun.Add(time.Duration(life.Load()))), true }}
			th.program()
			th.generation(2)
			time.Sleep(30 * time.Minute)
			if renewed {
				life.Store(int64(24 * time.Hour))
			}
			th.program().exit(Status{})
			th.ends(Status{})
			want := time.Hour - handOverBefore
			if renewed {
				want = 6 * time.Hour
			}
			if took := time.Since(begun); took < want || took > want+10*time.Second {
				t.Errorf("applied after %v, want %v", took, want)
			}
		})
	}
}

// The names of what changed survive a failure, and a crash that takes the change along says so too.
func TestEveryRestartSaysWhatChanged(t *testing.T) {
	var lines []string
	log := slog.New(recorder(func(r slog.Record) {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "changed" {
				lines = append(lines, fmt.Sprint(r.Level, " ", a.Value))
			}
			return true
		})
	}))
	play(t, func(c *Config) { c.Logger = log; c.Crash.Restart = Always }, func(th *theatre) {
		th.generation(1, "A", "B")
		th.program()
		th.generation(2, "A")
		th.program().exit(failed)
		th.program() // generation 1 again
		p := th.program()
		time.Sleep(time.Minute)
		p.exit(failed)
		th.generation(3, "B")
		p = th.program()
		if !p.has("GEN=3") {
			t.Errorf("after the crash a program with %q", p.env)
		}
		synctest.Wait()
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGTERM})
	})
	// Without a readiness it is in use as soon as it runs.
	if want := []string{"INFO [A]", "ERROR [A]", "INFO [A]", "INFO [B]"}; !slices.Equal(lines, want) {
		t.Errorf("said %q, want %q", lines, want)
	}
}

type recorder func(slog.Record)

func (recorder) Enabled(context.Context, slog.Level) bool        { return true }
func (f recorder) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f recorder) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f recorder) WithGroup(string) slog.Handler                 { return f }

func TestStopEndsWhatRunsBeside(t *testing.T) {
	play(t, func(c *Config) { c.OnChange = None }, func(th *theatre) {
		th.generation(1)
		th.program()
		th.gens <- Generation{ID: 2, Prepare: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		time.Sleep(time.Second)
		begun := time.Now()
		th.sigs.term <- syscall.SIGTERM
		th.ends(Status{Signal: syscall.SIGTERM})
		if took := time.Since(begun); took > time.Second {
			t.Errorf("files that could not be written held up the end for %v", took)
		}
	})
}
