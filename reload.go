package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/internal/fault"
)

// reloadPatience is how long a reload waits for Vault before the old configuration stays, if
// --start-timeout is not shorter; readPatience how long for the files.
const (
	reloadPatience = 45 * time.Second
	readPatience   = 10 * time.Second
)

func waitLimit(c *config.Config) time.Duration {
	if t := c.Start.Timeout; t > 0 {
		return min(t, reloadPatience)
	}
	return reloadPatience
}

// askReload has the conductor read the configuration anew and returns when that worked or
// failed. Several at a time are carried out one after the other.
func (j *job) askReload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case j.reloads <- answer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reload reads the configuration anew. If it is bad, the old one stays and the error says
// why; else only what differs is touched.
func (c *conductor) reload(ctx context.Context) (err error) {
	next, err := c.readAgain()
	if err != nil {
		return fmt.Errorf("the old configuration stays: %w", err)
	}
	ch := &change{cfg: next, vault: c.vault, limit: waitLimit(next), failed: make(chan error, 4), inForce: make(chan struct{})}
	later := sinceStart(c.cfg, next)
	if err = c.prepare(ctx, ch); err == nil {
		err = c.check(ch)
	}
	if err != nil {
		ch.discard(c.vault)
		return fmt.Errorf("the old configuration stays: %w", err)
	}
	touched := c.commit(ctx, ch)
	for _, w := range next.Warnings {
		c.log.Warn("configuration", "problem", w.Error())
	}
	c.log.Info("configuration read anew", "changed", strings.Join(touched, " "), "at_the_next_start", strings.Join(later, " "))
	base := ch.vault.guide(surroundings(next))
	if ch.waits {
		c.base = base
		return nil
	}
	c.blind = false
	before := c.last.ID
	err = c.switched(context.WithoutCancel(ctx), ch.first, base, ch.restart)
	if c.last.ID == before {
		c.depart(func(departure) bool { return true }) // nothing hangs on the old side any more
	}
	return err
}

// readAgain reads the same files as at the start. One that is a pipe by now, or on a server
// that is away, costs no more than its time.
func (c *conductor) readAgain() (*config.Config, error) {
	type read struct {
		cfg *config.Config
		err error
	}
	done, now := make(chan read, 1), c.cfg
	go func() {
		var r read
		r.err = fault.Try(func() (err error) {
			if r.cfg, err = now.Again(); err == nil {
				err = absolute(r.cfg)
			}
			if err == nil {
				err = addresses(r.cfg)
			}
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		return r.cfg, r.err
	case <-time.After(readPatience):
		return nil, fmt.Errorf("%s cannot be read within %s", strings.Join(now.Files, ", "), readPatience)
	}
}

// prepare makes all that is new, up to the first generation.
func (c *conductor) prepare(ctx context.Context, ch *change) (err error) {
	now, next := c.cfg, ch.cfg
	if (len(now.Program.Args) == 0) != (len(next.Program.Args) == 0) || now.Program.Exec != next.Program.Exec {
		return errors.New("a program that comes or goes needs a new start")
	}
	if ch.wanted, err = wantedSecrets(next); err != nil {
		return err
	}
	if err := c.prepareProgram(ch); err != nil {
		return err
	}
	if err := c.prepareVault(ch); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ch.limit)
	defer cancel()
	err = ch.await(ctx, c)
	if errors.Is(err, context.DeadlineExceeded) {
		err = ch.vault.unreachable(ch.limit)
	}
	return err
}

func (c *conductor) prepareProgram(ch *change) error {
	draft := &job{cfg: ch.cfg, env: c.env, log: c.log, sigs: c.sigs, vault: c.vault, refresh: c.refresh, reloads: c.reloads}
	p := &parsing{}
	draft.ownSignals = draft.taken(p)
	ch.rules = newChangeRules(p, ch.cfg, ch.wanted.references)
	if err := errors.Join(p.errs...); err != nil || c.program == nil {
		return err
	}
	var err error
	ch.program, err = draft.newProgram()
	was := c.cfg.Program
	ch.restart = !reflect.DeepEqual(was.Args, ch.cfg.Program.Args) || was.User != ch.cfg.Program.User || was.Dir != ch.cfg.Program.Dir
	return err
}

// prepareVault makes another vault side, or other parts of the present one.
func (c *conductor) prepareVault(ch *change) (err error) {
	now, next, v := c.cfg, ch.cfg, c.vault
	needed := ch.wanted.any() || len(next.Sinks)+len(next.Listeners) > 0
	if !needed {
		ch.vault, ch.successor = nil, v != nil
		return nil
	}
	ch.successor = v == nil || !config.Same(now.Vault, next.Vault) || !sameLogin(now.Login, next.Login) || v.store == nil && ch.wanted.any() ||
		next.Login.WrapTTL > 0 && !config.Same(now.Sinks, next.Sinks) // a wrapped token is for one reader
	if ch.successor {
		if v != nil && v.sealed != nil {
			return errors.New("another server or login needs a new start while cache.persist is on")
		}
		if ch.vault, err = newVaultSide(next, c.env, c.log, v); err != nil {
			return err
		}
		ch.vault.start(c.services, ch.fail(c.services))
		return nil
	}
	before, err := wantedSecrets(now)
	if err != nil {
		return err
	}
	secrets := func(s config.Secrets) []any { return []any{s.IgnoreMissing, s.ExitOnRetryFailure, s.RefreshPaths} }
	if !reflect.DeepEqual(before, ch.wanted) || !reflect.DeepEqual(secrets(now.Secrets), secrets(next.Secrets)) {
		if ch.wanted.any() {
			if ch.reading, err = v.newReading(next, ch.wanted, c.env); err != nil {
				return err
			}
			ch.reading.start(v.life, ch.fail(v.life))
		}
	}
	if !config.Same(now.Sinks, next.Sinks) {
		if ch.sinks, err = v.newSinks(next.Sinks, now.Sinks); err != nil {
			return err
		}
		ch.resink = true
	}
	if !config.Same(now.Listeners, next.Listeners) || !config.Same(now.APIProxy, next.APIProxy) || !config.Same(now.Cache, next.Cache) {
		ch.listeners, err = v.newProxy(next, c.env, v.sockets())
		ch.relisten = err == nil
	}
	return err
}

// sameLogin compares logins, not where they are chosen.
func sameLogin(a, b config.Login) bool {
	a.Source, b.Source = "", ""
	return config.Same(a, b)
}

// commit puts the new configuration in force and returns what it touched.
func (c *conductor) commit(ctx context.Context, ch *change) (touched []string) {
	close(ch.inForce)
	was, old := c.cfg, c.vault
	c.mu.Lock()
	c.job.cfg, c.job.rules, c.job.vault, c.job.references = ch.cfg, ch.rules, ch.vault, ch.wanted.references
	c.mu.Unlock()
	note := func(did bool, what string) {
		if did {
			touched = append(touched, what)
		}
	}
	if ch.program != nil {
		c.program.Adopt(ch.program)
	}
	c.setLog(ch.cfg.Log)
	note(was.Log != ch.cfg.Log, "log")
	note(ch.restart, "program")
	note(!ch.restart && !sameTreatment(was, ch.cfg), "treatment")
	note(!config.Same(was.Environment, ch.cfg.Environment), "environment")
	note(ch.successor, "vault")
	note(ch.reading != nil, "secrets")
	note(ch.resink, "sinks")
	note(ch.relisten, "listeners")
	switch {
	case ch.successor && old != nil:
		if ch.vault != nil {
			ch.vault.takeOver(old)
		}
		c.leave(old)
		ch.vault.passTokens(ctx)
	case ch.successor:
	case ch.vault != nil:
		ch.vault.adopt(ctx, ch)
	}
	return touched
}

// sameTreatment reports whether a program is supervised as before.
func sameTreatment(a, b *config.Config) bool {
	return config.Same(a.Change, b.Change) && config.Same(a.Restart, b.Restart) && config.Same(a.Stop, b.Stop) && config.Same(a.Ready, b.Ready) &&
		config.Same(a.Program, b.Program)
}
