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

// What came since the process began, a channel for each: a burst of one must not
// push out another. nil where our parent wanted the signal ignored. They stay
// registered for the life of the process, and supervise reads them: taking a
// registration over would cost a wait for the runtime's signal loop (2 ms at start).
var (
	Term      = catch(syscall.SIGTERM)
	Interrupt = catch(syscall.SIGINT)
	HangUp    = catch(syscall.SIGHUP)
)

func catch(sig os.Signal) chan os.Signal {
	if signal.Ignored(sig) {
		return nil
	}
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, sig)
	return caught
}
