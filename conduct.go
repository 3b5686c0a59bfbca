package main

import (
	"context"
	"slices"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// conductor is the one goroutine that hands generations on and carries out reloads: what
// the configuration says now is its own.
type conductor struct {
	*job
	services *services
	deliver  func(context.Context, delivery) error

	base            environ.Environ // what the program inherits
	rendered, login uint64          // the renderer's last generation, and its login
	last            delivery        // ID 0: none yet
	blind           bool            // generations are worth nothing yet: see vaultSide.known
}

// delivery is one generation on its way to the program or to the files, with numbers of
// our own: those of a renderer begin anew with every reload.
type delivery struct {
	envtemplate.Generation
	base    environ.Environ
	restart bool // the program itself is another, not only its secrets
}

// conduct calls deliver with every new generation until ctx ends or deliver fails. Without
// a secret named there is one, empty.
func (j *job) conduct(ctx context.Context, s *services, deliver func(context.Context, delivery) error) error {
	c := &conductor{job: j, services: s, deliver: deliver, base: j.vault.guide(surroundings(j.cfg))}
	c.blind = j.vault != nil
	if !c.blind {
		if err := c.see(ctx); err != nil {
			return err
		}
	}
	for {
		var delivered, fallenBack <-chan struct{}
		var gens <-chan envtemplate.Generation
		if c.blind {
			delivered, fallenBack = j.vault.delivered, j.vault.fallenBack()
		} else {
			gens = j.vault.generations()
		}
		var err error
		select {
		case <-delivered:
			err = c.see(ctx)
		case <-fallenBack:
			err = c.see(ctx)
		case g := <-gens:
			err = c.take(ctx, g)
		case answer := <-j.reloads:
			answer <- c.reload(ctx)
		case passed := <-j.barriers:
			select {
			case g := <-gens:
				err = c.take(ctx, g)
			default:
			}
			close(passed)
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// see begins to look for generations; where none is to come there is an empty one.
func (c *conductor) see(ctx context.Context) error {
	c.blind = false
	if c.vault.generations() != nil {
		return nil
	}
	return c.send(ctx, envtemplate.Generation{})
}

// take hands on what the renderer made, unless it changes nothing.
func (c *conductor) take(ctx context.Context, g envtemplate.Generation) error {
	// Where the program holds our token, a new login is a change like any other.
	newToken := c.cfg.Login.ProgramToken && g.Epoch != c.login
	same := g.ID == c.rendered && !newToken || c.last.ID != 0 && c.cfg.Start.Once
	if g.ID == c.rendered && newToken {
		g.Changed = nil
	}
	if newToken && c.last.ID != 0 {
		g.Changed = append(g.Changed, "VAULT_TOKEN")
	}
	c.rendered, c.login = g.ID, g.Epoch
	if same {
		g.ID = c.last.ID
		c.vault.remember(g)
		return nil
	}
	return c.send(ctx, g)
}

// send delivers g under the next number.
func (c *conductor) send(ctx context.Context, g envtemplate.Generation) error {
	d := delivery{Generation: g, base: c.base}
	d.ID = c.last.ID + 1
	c.vault.remember(d.Generation)
	c.last = d
	return c.handOn(ctx, d)
}

func (c *conductor) handOn(ctx context.Context, d delivery) error {
	err := c.deliver(ctx, d)
	c.begun.Store(true)
	if err != nil || d.ID > 1 {
		return err
	}
	c.vault.schedule(c.cfg.Start.Once)
	return nil
}

// switched hands on the first generation after a reload, if it differs from the last.
func (c *conductor) switched(ctx context.Context, g envtemplate.Generation, base environ.Environ, restart bool) error {
	changed := append(environ.Changed(c.base, base), g.ChangedSince(c.last.Generation)...)
	if c.cfg.Login.ProgramToken && g.Epoch != c.login {
		changed = append(changed, "VAULT_TOKEN")
	}
	slices.Sort(changed)
	g.Changed = slices.Compact(changed)
	c.base, c.rendered, c.login = base, g.ID, g.Epoch
	d := delivery{Generation: g, base: base, restart: restart}
	if d.ID = c.last.ID; d.ID == 0 || len(g.Changed) > 0 || restart || c.unwritten {
		d.ID++
	}
	c.vault.remember(d.Generation)
	isNew := d.ID != c.last.ID
	c.last, c.unwritten = d, false
	if !isNew {
		return nil
	}
	return c.handOn(ctx, d)
}

// sinceStart are parts of a configuration that only a new start can change; what the new
// one says of them is put back to what is in force.
func sinceStart(now, next *config.Config) (put []string) {
	for _, p := range []struct {
		name string
		same bool
		back func()
	}{
		{"listen", config.Same(now.Sockets, next.Sockets), func() { next.Sockets = now.Sockets }},
		{"cache.persist", config.Same(now.Cache.Persist, next.Cache.Persist), func() { next.Cache.Persist = now.Cache.Persist }},
		{"telemetry", config.Same(now.Telemetry, next.Telemetry), func() { next.Telemetry = now.Telemetry }},
		{"admin", now.Admin == next.Admin, func() { next.Admin = now.Admin }},
		{"pid_file", now.PIDFile == next.PIDFile, func() { next.PIDFile = now.PIDFile }},
		{"log_format", now.Log.Format == next.Log.Format, func() { next.Log.Format = now.Log.Format }},
		{"start", config.Same(now.Start, next.Start), func() { next.Start = now.Start }},
		{"program.subreaper", now.Program.NoSubreaper == next.Program.NoSubreaper, func() { next.Program.NoSubreaper = now.Program.NoSubreaper }},
		{"exec.child_process_stdout", now.Program.Stdout == next.Program.Stdout, func() { next.Program.Stdout = now.Program.Stdout }},
		{"exec.child_process_stderr", now.Program.Stderr == next.Program.Stderr, func() { next.Program.Stderr = now.Program.Stderr }},
	} {
		if !p.same {
			p.back()
			put = append(put, p.name)
		}
	}
	return put
}
