package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/supervise"
)

// reloadPatience is how long a reload waits for Vault before the old configuration stays.
const reloadPatience = 45 * time.Second

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

// change is a new configuration on its way into force. Nothing of what runs is touched
// before all of it is known to work.
type change struct {
	cfg     *config.Config
	wanted  wanted
	program *supervise.Supervisor // settings for the running one; nil without a program
	rules   changeRules

	vault     *vaultSide // the present one, or its successor
	successor bool       // vault is new: another server, login or sink
	reading   *reading   // new; nil = the present one stays
	listeners *proxy.Proxy
	relisten  bool // listeners is new, also if there are none
	first     envtemplate.Generation
	restart   bool
	failed    chan error // what is new and failed before it was in force
	inForce   chan struct{}
}

// reload reads the configuration anew. If it is bad, the old one stays and the error says
// why; else only what differs is touched.
func (c *conductor) reload(ctx context.Context) (err error) {
	next, err := c.cfg.Again()
	if err == nil {
		err = absolute(next)
	}
	if err != nil {
		return fmt.Errorf("the old configuration stays: %w", err)
	}
	later := sinceStart(c.cfg, next)
	ctx, cancel := context.WithTimeoutCause(ctx, reloadPatience, errors.New("vault did not answer in time"))
	defer cancel()
	ch := &change{cfg: next, vault: c.vault, failed: make(chan error, 4), inForce: make(chan struct{})}
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
	before := c.last.ID
	err = c.switched(context.WithoutCancel(ctx), ch.first, ch.vault.guide(surroundings(next)), ch.restart)
	if c.last.ID == before {
		c.depart(func(departure) bool { return true }) // nothing hangs on the old side any more
	}
	return err
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
	return ch.await(ctx, c)
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
	ch.successor = v == nil || !config.Same(now.Vault, next.Vault) || !sameLogin(now.Login, next.Login) || !config.Same(now.Sinks, next.Sinks) ||
		v.store == nil && ch.wanted.any()
	if ch.successor {
		if v != nil && v.sealed != nil {
			return errors.New("another server, login or sink needs a new start while cache.persist is on")
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
	secrets := func(s config.Secrets) []any { return []any{s.IgnoreMissing, s.ExitOnRetryFailure} }
	if !reflect.DeepEqual(before, ch.wanted) || !reflect.DeepEqual(secrets(now.Secrets), secrets(next.Secrets)) {
		if ch.wanted.any() {
			if ch.reading, err = v.newReading(next, ch.wanted, c.env); err != nil {
				return err
			}
			ch.reading.start(v.life, ch.fail(v.life))
		}
	}
	if !config.Same(now.Listeners, next.Listeners) || !config.Same(now.APIProxy, next.APIProxy) || !config.Same(now.Cache, next.Cache) {
		ch.listeners, err = v.newProxy(next, v.sockets())
		ch.relisten = err == nil
	}
	return err
}

// sameLogin compares logins, not where they are chosen.
func sameLogin(a, b config.Login) bool {
	a.Source, b.Source = "", ""
	return config.Same(a, b)
}

// fail is for what is new: before it is in force its failure is the reload's, then ours.
func (ch *change) fail(s *services) context.CancelCauseFunc {
	return func(err error) {
		select {
		case <-ch.inForce:
			s.fail(err)
		default:
			select {
			case ch.failed <- err:
			default:
			}
		}
	}
}

// await waits for the first generation of what is new.
func (ch *change) await(ctx context.Context, c *conductor) error {
	var gens <-chan envtemplate.Generation
	switch {
	case ch.reading != nil:
		gens = ch.reading.renderer.Generations()
	case ch.successor && ch.vault != nil:
		known := make(chan struct{})
		go func() { _ = ch.vault.known(ctx); close(known) }()
		select {
		case <-known:
		case err := <-ch.failed:
			return err
		}
		gens = ch.vault.generations()
	case !ch.wanted.any():
		return nil // no secret any more: an empty generation
	default:
		ch.first = c.last.Generation
		ch.first.ID = c.rendered
		return nil
	}
	if gens == nil {
		return context.Cause(ctx)
	}
	select {
	case ch.first = <-gens:
		return nil
	case err := <-ch.failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// check tries what the program would get.
func (c *conductor) check(ch *change) error {
	draft := &job{cfg: ch.cfg, vault: ch.vault, references: ch.wanted.references}
	_, err := draft.merge(ch.vault.guide(surroundings(ch.cfg)), ch.first)
	return err
}

// discard ends what was made in vain.
func (ch *change) discard(present *vaultSide) {
	ch.reading.end()
	if ch.listeners != nil {
		ch.listeners.Close()
	}
	if ch.successor && ch.vault != nil && ch.vault != present {
		if present != nil && ch.vault.drop == present.drop {
			ch.vault.drop = nil
		}
		ch.vault.close()
	}
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

// leave gives up a vault side once the program no longer depends on it.
func (c *conductor) leave(old *vaultSide) {
	c.mu.Lock()
	c.leaving = append(c.leaving, departure{old, c.last.ID + 1})
	c.mu.Unlock()
}

// departure is a vault side that ends once generation is safely up.
type departure struct {
	vault      *vaultSide
	generation uint64
}

// settle says that a generation's program is safely up.
func (j *job) settle(id uint64) {
	j.side().settle(id)
	j.depart(func(d departure) bool { return id >= d.generation })
}

// depart ends the vault sides that nobody needs any more.
func (j *job) depart(over func(departure) bool) {
	j.mu.Lock()
	var done []departure
	j.leaving = slices.DeleteFunc(j.leaving, func(d departure) bool {
		if over(d) {
			done = append(done, d)
			return true
		}
		return false
	})
	j.mu.Unlock()
	for _, d := range done {
		d.vault.close()
	}
}

// side is the present vault side.
func (j *job) side() *vaultSide {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.vault
}
