package supervise

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/envexec/envexec/internal/early"
	"github.com/envexec/envexec/signals"
)

// Signals catches what is sent to us from outside. Each signal that asks to
// stop has a channel of its own: a burst of another must not hold it up.
type Signals struct {
	term, int, quit, hup chan syscall.Signal
	rest                 chan syscall.Signal
	raw                  []chan os.Signal
	untaken              chan chan syscall.Signal // asks for a signal that nobody has taken, 0 = none
	stop                 chan struct{}
	all                  chan struct{} // closed when every signal is caught
}

// Catch begins to catch signals; call it first thing, so that none is lost,
// and hand the result to Config.Signals. What our parent wanted ignored (HUP
// under nohup, INT in a background job) stays ignored, for the program too.
// getenv tells whether systemd started us, which wants PIPE ignored; nil = no.
// Release ends it, but for those that package early has caught before main and
// goes on to catch.
func Catch(getenv func(string) string) *Signals {
	s := &Signals{
		term: make(chan syscall.Signal), int: make(chan syscall.Signal), quit: make(chan syscall.Signal), hup: make(chan syscall.Signal),
		rest: make(chan syscall.Signal), untaken: make(chan chan syscall.Signal), stop: make(chan struct{}), all: make(chan struct{}),
	}
	var rest []os.Signal
	for _, sig := range append(signals.Forwarded(), jobControlSignals()...) {
		switch sig {
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT: // caught before main
		default:
			rest = append(rest, sig)
		}
	}
	go s.sort(early.Caught)
	// Each takes the runtime 25 µs; Run waits for them before it starts a program.
	go func() {
		s.pump(s.rest, s.notify(1024, rest...))
		s.dropPipe(getenv)
		close(s.all)
	}()
	return s
}

// dropPipe keeps us alive when the reader of our stderr goes away (a restart of
// journald). An ignored PIPE is inherited, a caught one is not.
func (s *Signals) dropPipe(getenv func(string) string) {
	if getenv != nil && getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) {
		signal.Ignore(syscall.SIGPIPE)
		return
	}
	s.notify(1, syscall.SIGPIPE)
}

// notify registers sigs.
func (s *Signals) notify(size int, sigs ...os.Signal) chan os.Signal {
	raw := make(chan os.Signal, size)
	if len(sigs) > 0 {
		s.raw = append(s.raw, raw)
		signal.Notify(raw, sigs...)
	}
	return raw
}

// sort moves the signals that ask to stop on, each to its channel. It is always
// ready to take one: os/signal drops what nobody takes.
func (s *Signals) sort(raw <-chan os.Signal) {
	waiting := map[os.Signal]int{}
	to := func(sig syscall.Signal, c chan syscall.Signal) chan<- syscall.Signal {
		if waiting[sig] == 0 {
			return nil
		}
		return c
	}
	for {
		select {
		case sig := <-raw:
			waiting[sig]++
		case answer := <-s.untaken:
			for len(raw) > 0 {
				waiting[<-raw]++
			}
			answer <- anyOf(waiting)
		case to(syscall.SIGTERM, s.term) <- syscall.SIGTERM:
			waiting[syscall.SIGTERM]--
		case to(syscall.SIGINT, s.int) <- syscall.SIGINT:
			waiting[syscall.SIGINT]--
		case to(syscall.SIGHUP, s.hup) <- syscall.SIGHUP:
			waiting[syscall.SIGHUP]--
		case to(syscall.SIGQUIT, s.quit) <- syscall.SIGQUIT:
			waiting[syscall.SIGQUIT]--
		case <-s.stop:
			return
		}
	}
}

func anyOf(waiting map[os.Signal]int) syscall.Signal {
	for sig, n := range waiting {
		if s, ok := sig.(syscall.Signal); ok && n > 0 {
			return s
		}
	}
	return 0
}

// pump moves signals from the channel of os/signal, which drops when full, on to to.
func (s *Signals) pump(to chan<- syscall.Signal, raw <-chan os.Signal) {
	go func() {
		for {
			select {
			case sig := <-raw:
				n, ok := sig.(syscall.Signal)
				if !ok {
					continue
				}
				select {
				case to <- n:
				case <-s.stop:
					return
				}
			case <-s.stop:
				return
			}
		}
	}()
}

// Wait returns the next signal that asks to stop, for a caller without a
// program; 0 when ctx ends first. Other signals are dropped meanwhile.
func (s *Signals) Wait(ctx context.Context) syscall.Signal { return s.WaitTaking(ctx, nil) }

// WaitTaking is Wait that meanwhile calls what taken names for a signal, as
// Config.Taken does.
func (s *Signals) WaitTaking(ctx context.Context, taken map[syscall.Signal]func()) syscall.Signal {
	for {
		var sig syscall.Signal
		select {
		case sig = <-s.term:
		case sig = <-s.int:
		case sig = <-s.quit:
		case sig = <-s.hup:
		case sig = <-s.rest:
		case <-ctx.Done():
			return 0
		}
		if own := taken[sig]; own != nil {
			own()
			continue
		}
		if signals.AsksToStop(sig) {
			return sig
		}
	}
}

// Release gives the signals back to their default.
func (s *Signals) Release() {
	<-s.all
	for _, raw := range s.raw {
		signal.Stop(raw)
	}
	close(s.stop)
}
