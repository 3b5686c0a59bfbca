package main

import (
	"context"
	"syscall"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/fault"
	"github.com/envexec/envexec/supervise"
)

// Every signal is caught from the first instruction on, for the program's sake. What has no
// program must end by them all the same.

// diedOf ends the process as sig would have; where it does not, the result is the status.
func diedOf(sig syscall.Signal) int {
	supervise.Reraise(sig)
	return 128 + int(sig)
}

// slowConfig is how long the configuration is read before a signal ends that: a file may be a
// pipe nobody writes to, or on a server that is away.
const slowConfig = time.Second

// parseConfig is config.Parse, or the signal that ended it.
func parseConfig(args []string, env environ.Environ, sigs *supervise.Signals) (*config.Config, syscall.Signal, error) {
	var (
		cfg *config.Config
		err error
	)
	read, done := context.WithCancel(context.Background())
	go func() {
		err = fault.Try(func() (err error) { cfg, err = config.Parse(args, env); return err })
		done()
	}()
	select {
	case <-read.Done():
	case <-time.After(slowConfig):
		if sig := sigs.Wait(read); sig != 0 {
			return nil, sig, nil
		}
	}
	return cfg, 0, err
}

// orderly is how long a command may take to give back its login after a signal.
const orderly = 3 * time.Second

// untilSignal runs a command. A signal that asks to stop ends its context, and soon after the
// process by that signal, even where the command waits for somebody to type.
func untilSignal(ctx context.Context, sigs *supervise.Signals, run func(context.Context) (int, error)) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		status int
		err    error
	)
	done := make(chan struct{})
	go func() {
		err = fault.Try(func() (err error) { status, err = run(ctx); return err })
		close(done)
	}()
	waiting, stop := context.WithCancel(context.Background())
	signalled := make(chan syscall.Signal, 1)
	go func() { signalled <- sigs.Wait(waiting) }()
	select {
	case <-done:
		stop()
		cancel()
		return status, err
	case sig := <-signalled:
		stop()
		cancel()
		select {
		case <-done:
		case <-time.After(orderly):
		}
		return diedOf(sig), nil
	}
}
