// Package early catches the signals that ask a process to stop before anything
// else of it is initialised. Between the runtime's start and signal.Notify in main
// the default action holds, and for process 1 of a container there is none: a TERM
// in that window would be lost, or end us with a status that is not its own. Go
// initialises packages in the order of their import paths as far as dependencies
// allow, and this one depends on little.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// Signals holds what came since the process began. Whoever takes over calls
// signal.Notify for its own channel first, then reads what is left here, then
// signal.Stop.
var Signals = catch()

func catch() chan os.Signal {
	caught := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP} {
		// What our parent wanted ignored stays ignored.
		if !signal.Ignored(sig) {
			signal.Notify(caught, sig)
		}
	}
	return caught
}
