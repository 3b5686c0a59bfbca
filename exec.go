package main

import (
	"context"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/supervise"
)

// become renders once and then becomes the program: nothing of envexec is left, so
// nothing is renewed and nothing restarts. It returns only if that failed, or with
// the signal that came first.
func (j *job) become(ctx context.Context) (supervise.Status, error) {
	all := inherit(j.cfg.Environment)
	if j.vault != nil {
		var status supervise.Status
		var err error
		if all, status, err = j.renderOnce(ctx, all); err != nil || status.Signal != 0 {
			return status, err
		}
	}
	command := supervise.Command{Args: j.cfg.Program.Args, Env: all.List(), Dir: j.cfg.Program.Dir}
	command.Path, _ = j.env.Get("PATH")
	if j.cfg.Program.User != "" {
		user, err := supervise.LookupUser(j.cfg.Program.User)
		if err != nil {
			return supervise.Status{}, misconfigured{err}
		}
		command.User = user
	}
	return supervise.Status{}, supervise.Exec(command)
}

// renderOnce logs in, writes the files of the first generation and returns its
// environment. Our token is revoked unless a lease would die with it.
func (j *job) renderOnce(ctx context.Context, base environ.Environ) (environ.Environ, supervise.Status, error) {
	s, program := newServices(ctx)
	started := j.giveUpAfter(s)
	j.vault.start(s)
	done := make(chan environ.Environ, 1)
	s.start("environment", func(ctx context.Context) error {
		return j.vault.each(ctx, func(g envtemplate.Generation) error {
			all, err := j.merge(base, g)
			if err == nil {
				err = g.WriteFiles(ctx)
			}
			if err != nil {
				return err
			}
			select {
			case done <- all:
			default: // only the first counts
			}
			return nil
		})
	})
	waiting, stopWaiting := context.WithCancel(program)
	signalled := make(chan supervise.Status, 1)
	go func() { signalled <- supervise.Status{Signal: j.sigs.Wait(waiting)} }()

	var all environ.Environ
	var status supervise.Status
	select {
	case all = <-done:
	case status = <-signalled:
	case <-program.Done():
	}
	started()
	err := context.Cause(program)
	leased := j.vault.leased()
	stopWaiting()
	s.stop()
	if err == nil && leased > 0 && status.Signal == 0 {
		j.log.Info("the token is kept: secrets have leases that end with it", "secrets", leased)
		j.vault.closeSealed(false)
		return all, status, nil
	}
	j.revoke(ctx)
	return all, status, err
}
