// Package early catches the signals that ask a process to stop before anything
// else of it is initialised. Between the runtime's start and signal.Notify in main
// the default action holds, and for process 1 of a container there is none: a TERM
// in that window would be lost, or end us with a status that is not its own. Go
// initialises packages in the order of their import paths as far as dependencies
// allow, and this one depends on little.
//
// What is left of the window, a millisecond, is closed by entry: a program built with
// the tag entry and linked with -E begins there (see the Makefile), and the runtime
// then keeps such a signal until it is asked for here. Everything else works the same
// without it.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// Caught is what came since the process began: TERM, INT, HUP and QUIT, without
// those that our parent wanted ignored. They stay registered for the life of the
// process, and supervise reads them: taking a registration over would cost a wait
// for the runtime's signal loop (2 ms at start).
var Caught = catch(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)

// Stop ends the registration for a process about to become another program, and
// returns when what came before is in Caught.
func Stop() { signal.Stop(caught) }

// Raise puts sig into Caught as if it had come, where a stop is asked for by other
// means than a signal. It never blocks: with 64 unread there is nothing to add.
func Raise(sig os.Signal) {
	select {
	case caught <- sig:
	default:
	}
}

var caught = make(chan os.Signal, 64)

// catch registers all at once: what the runtime has kept is given out from the first
// registration on, to those who are there.
func catch(all ...os.Signal) <-chan os.Signal {
	var wanted []os.Signal
	for _, sig := range all {
		if !signal.Ignored(sig) {
			wanted = append(wanted, sig)
		}
	}
	if len(wanted) > 0 { // none would mean every signal
		signal.Notify(caught, wanted...)
	}
	return caught
}
