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
	all := surroundings(j.cfg)
	var memory []supervise.Memory
	if j.vault != nil {
		r, status, err := j.renderOnce(ctx, all)
		if err != nil || status.Signal != 0 {
			j.vault.drop.remove()
			return status, err
		}
		all, memory = inMemory(r.env, r.files)
		if j.vault.drop != nil { // the program's own from now on
			if err := j.vault.drop.passOn(); err != nil {
				return status, err
			}
		}
	}
	command := supervise.Command{Args: j.cfg.Program.Args, Env: all.List(), Dir: j.cfg.Program.Dir, Memory: memory}
	command.Path, _ = j.env.Get("PATH")
	var err error
	if command.User, err = programUser(j.cfg); err != nil {
		return supervise.Status{}, misconfigured{err}
	}
	status, err := supervise.Exec(command, j.sigs)
	if j.vault != nil {
		j.vault.drop.remove()
	}
	return status, err
}

// becoming is what the program is made of: the first and only generation of a program we become.
type becoming struct {
	env   environ.Environ
	files []envtemplate.RenderedFile
}

// renderOnce logs in, writes the files of the first generation and returns its
// environment. Our token is revoked unless a lease would die with it.
func (j *job) renderOnce(ctx context.Context, base environ.Environ) (becoming, supervise.Status, error) {
	var all becoming
	leased := 0
	status, err := j.once(ctx, func(ctx context.Context, g envtemplate.Generation) error {
		var err error
		if all.env, err = j.merge(base, g); err == nil {
			all.files, err = g.Files, g.WriteFiles(ctx)
		}
		leased = j.vault.leased()
		return err
	})
	if err == nil && leased > 0 && status.Signal == 0 {
		j.log.Info("the token is kept: secrets have leases that end with it", "secrets", leased)
		j.vault.closeSealed(false)
		return all, status, nil
	}
	j.revoke(ctx)
	return all, status, err
}

// once logs in, gives use the first generation and stops everything again but for the
// revocation. The status is that of a signal that came first.
func (j *job) once(ctx context.Context, use func(context.Context, envtemplate.Generation) error) (supervise.Status, error) {
	s, program := newServices(ctx)
	started := j.giveUpAfter(s)
	j.vault.start(s, s.fail)
	done := make(chan struct{})
	s.start("environment", func(ctx context.Context) error {
		used := false // only the first counts
		return j.conduct(ctx, s, func(ctx context.Context, g delivery) error {
			if used {
				return nil
			}
			used = true
			err := use(ctx, g.Generation)
			if err == nil {
				close(done)
			}
			return err
		})
	})
	waiting, stopWaiting := context.WithCancel(program)
	signalled := make(chan supervise.Status, 1)
	go func() { signalled <- supervise.Status{Signal: j.sigs.Wait(waiting)} }()

	var status supervise.Status
	select {
	case <-done:
	case status = <-signalled:
	case <-program.Done():
	}
	started()
	err := context.Cause(program)
	stopWaiting()
	if status.Signal == 0 { // it may have come at the same moment
		status = <-signalled
	}
	s.stop()
	return status, err
}
