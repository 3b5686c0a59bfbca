package main

import (
	"context"
	"time"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/supervise"
)

// change is a new configuration on its way into force. Nothing of what runs is touched
// before all of it is known to work.
type change struct {
	cfg     *config.Config
	wanted  wanted
	program *supervise.Supervisor // settings for the running one; nil without a program
	rules   changeRules

	vault     *vaultSide // the present one, or its successor
	successor bool       // vault is new: another server or login
	reading   *reading   // new; nil = the present one stays
	listeners *proxy.Proxy
	relisten  bool // listeners is new, also if there are none
	sinks     []auth.Sink
	resink    bool // sinks is new
	first     envtemplate.Generation
	waits     bool // no first one yet: the start goes on
	restart   bool
	limit     time.Duration // of waiting for Vault
	failed    chan error    // what is new and failed before it was in force
	inForce   chan struct{}
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
		ch.first, ch.waits = c.last.Generation, c.last.ID == 0
		ch.first.ID = c.rendered
		return nil
	}
	if gens == nil {
		return ctx.Err()
	}
	select {
	case ch.first = <-gens:
		return nil
	case err := <-ch.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
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
