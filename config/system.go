package config

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/envexec/envexec/signals"
)

// checkSystem refuses, with the reason, what this system cannot do. Everything else
// can be done on every system.
func checkSystem(d *decoder, c *Config, windows bool) {
	if !windows {
		return
	}
	if d.origins[&c.Stop.TermTimeout] == "" {
		// Who asks there, a console or the service manager, has no KILL of its own to follow.
		c.Stop.TermTimeout = c.Stop.Timeout
	}
	w := windowsCheck{d}
	w.changes(c)
	w.signals(c)
	w.program(c)
	w.owners(c)
	w.names(c)
}

type windowsCheck struct{ *decoder }

// refuse reports key, if given at all: at is where it was.
func (w windowsCheck) refuse(given bool, at, key, why, hint string) {
	if given {
		w.problems = append(w.problems, Problem{Source: at, Key: key, Message: why, Hint: hint})
	}
}

func (w windowsCheck) changes(c *Config) {
	for i, r := range rules(w.decoder, c) {
		key := "on_change"
		if i == 0 {
			key = "change.policy"
		}
		at := cmp.Or(r.at, "--on-change")
		w.refuse(r.Policy == "overlap", at, key, "overlap is not possible on Windows: a listening socket cannot be handed from program to program", "use restart or hook")
		w.refuse(r.Policy == "signal", at, key, "signal is not possible on Windows, which has no signals", "use hook or restart")
	}
	kind := c.Ready.Type
	w.refuse(kind == "notify" || kind == "fd", cmp.Or(w.origins[&c.Ready.Type], "--ready"), "ready", kind+" is not possible on Windows: no socket or descriptor can be handed to the program", "use tcp, http, exec or delay")
	for _, s := range c.Sockets {
		w.refuse(true, cmp.Or(s.Pos.String(), "--listen"), "listen", "a socket cannot be handed to a program on Windows", "let the program open it")
	}
}

// Of signals Windows has the wish to stop, which reaches the program as Ctrl-Break, and the end by force.
var windowsStops = []string{"TERM", "INT", "KILL", ""}

const noSignals = "Windows has no such signal: a program there can be asked to stop (TERM, delivered as Ctrl-Break) or be ended (KILL)"

func (w windowsCheck) signals(c *Config) {
	w.refuse(!slices.Contains(windowsStops, c.Stop.Signal), w.origins[&c.Stop.Signal], "stop.signal", noSignals, "")
	w.refuse(c.Secrets.RefreshSignal != "", w.origins[&c.Secrets.RefreshSignal], "secrets.refresh_signal", "nobody can send a signal on Windows", "use a shorter refresh, or envexec reload")
	w.refuse(c.Start.ReloadSignal != "", w.origins[&c.Start.ReloadSignal], "start.reload_signal", "nobody can send a signal on Windows", "use envexec reload")
	for _, m := range c.Program.SignalMap {
		known := true
		for _, name := range []string{m.From, m.To} {
			sig, err := signals.Parse(name)
			known = known && (name == "0" || err == nil && slices.Contains(windowsStops, signals.Name(sig)))
		}
		w.refuse(!known, cmp.Or(w.origins[&c.Program.SignalMap], "--signal-map"), "program.signal_map", m.From+"="+m.To+": "+noSignals, "")
	}
	for _, l := range []*[]string{&c.Restart.Success, &c.Restart.Prevent, &c.Restart.Force} {
		for _, s := range *l {
			_, err := strconv.Atoi(s)
			w.refuse(err != nil, w.origins[l], "restart", s+": no program dies of a signal on Windows", "name the exit status")
		}
	}
}

func (w windowsCheck) program(c *Config) {
	p := &c.Program
	w.refuse(p.User != "", w.origins[&p.User], "program.user", "a program cannot be run as another user on Windows", "run envexec as that user: envexec service install --account NAME")
	w.refuse(p.Exec, w.origins[&p.Exec], "program.exec", "a process cannot become another program on Windows", "remove it: envexec stays and passes the status on")
	w.refuse(c.Stop.LeaveOrphans, w.origins[&c.Stop.LeaveOrphans], "stop.leave_orphans", "on Windows nothing that the program has started survives envexec", "")
}

const noOwners = "Windows knows no owner by user and group: a private file belongs to our own account and administrators"

func (w windowsCheck) owners(c *Config) {
	for _, t := range c.Secrets.Templates {
		w.refuse(t.User != "" || t.Group != "", t.Pos.String(), "template", noOwners, "")
	}
	for _, f := range c.Secrets.RenderFiles {
		w.refuse(f.User != "" || f.Group != "", f.Pos.String(), "file", noOwners, "")
	}
	for _, l := range c.Listeners {
		w.refuse(l.SocketUser != "" || l.SocketGroup != "" || len(l.AllowUsers) > 0, l.Pos.String(), "listener", noOwners, "")
	}
	for _, s := range c.Sinks {
		w.refuse(s.Owner >= 0 || s.Group >= 0, s.Pos.String(), "sink", noOwners, "")
	}
	memfd := func(delivery, at string) {
		w.refuse(delivery == "memfd", at, "delivery", "memfd is not possible on Windows", "use file")
	}
	for _, n := range c.Secrets.Named {
		memfd(n.Delivery, "--as-file")
	}
	for _, v := range c.Secrets.Variables {
		memfd(v.Delivery, v.Pos.String())
	}
	for _, f := range c.Secrets.From {
		memfd(f.Delivery, f.Pos.String())
	}
	for _, t := range c.Secrets.EnvTemplates {
		memfd(t.Delivery, t.Pos.String())
	}
}
