package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/internal/fault"
	"github.com/envexec/envexec/internal/systemd"
	"github.com/envexec/envexec/signals"
	"github.com/envexec/envexec/supervise"
)

// newProgram translates what the configuration says of the program. Everything
// wrong with it comes joined.
func (j *job) newProgram() (*supervise.Supervisor, error) {
	c, p := j.cfg, &parsing{}
	path, _ := j.env.Get("PATH")
	sup := supervise.Config{
		Command: c.Program.Args,
		Path:    path,
		Dir:     cmp.Or(c.Program.Dir, c.WorkDir),

		OnChange:     parse(p, "on_change", c.Change.Policy, supervise.ParsePolicy),
		ChangeSignal: parse(p, "change signal", c.Change.Signal, signals.Parse),
		Hook:         c.Change.Hook,
		ExitCode:     c.Change.ExitCode,
		Quiet:        orNone(c.Change.Quiet),
		QuietMax:     orNone(c.Change.QuietMax),
		Splay:        c.Change.Splay,
		MinUptime:    orNone(c.Change.MinUptime),

		StopSignal:  parse(p, "stop signal", c.Stop.Signal, signals.Parse),
		StopTimeout: c.Stop.Timeout,
		TermTimeout: c.Stop.TermTimeout,
		Grace:       orNone(c.Stop.Grace),
		Leftovers:   c.Stop.LeaveOrphans,
		NoSubreaper: c.Program.NoSubreaper,

		SignalMap:   signalMap(p, c.Program.SignalMap),
		SignalGroup: c.Program.SignalGroup,
		Taken:       j.ownSignals,
		Signals:     j.sigs,

		Manager: systemd.Read(os.Getenv, os.Getpid()),
		KeepEnv: c.Environment.Keep,
		Sockets: sockets(p, c.Sockets),
		Ready: supervise.Ready{
			Kind: supervise.ReadyKind(c.Ready.Type), FD: c.Ready.FD, Command: c.Ready.Command,
			Address: c.Ready.Address, Header: c.Ready.Header, Delay: c.Ready.Delay, Timeout: c.Ready.Timeout, Soak: c.Change.Soak,
		},
		Budget:  supervise.Budget{N: c.Change.Limit, Within: c.Change.Interval},
		Windows: changeWindows(p, c.Change.Window),

		Crash:  crash(p, c.Restart),
		Logger: j.log,
		Trace:  j.watch(),
	}
	sup.Stdout, sup.Stderr = j.stdout, j.stderr
	if user, err := programUser(c); err != nil {
		p.errs = append(p.errs, err)
	} else {
		sup.User = user
	}
	if len(p.errs) > 0 {
		return nil, misconfigured{errors.Join(p.errs...)}
	}
	program, err := supervise.New(sup)
	if err != nil {
		var start *supervise.StartError
		if errors.As(err, &start) {
			return nil, err
		}
		return nil, misconfigured{err}
	}
	return program, nil
}

// programUser is whom the program runs as; nil = as we do. What we may not do is
// refused before Vault is asked for anything; a check may be for another place.
func programUser(c *config.Config) (*supervise.User, error) {
	name := c.Program.User
	if name == "" {
		return nil, nil
	}
	user, err := supervise.LookupUser(name)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	if user.Ours() {
		return nil, nil
	}
	if err := user.Allowed(!c.Program.Exec); err != nil && c.Word != config.Check {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	return user, nil
}

// outputFile opens what the program's output is appended to; nil = ours.
func outputFile(p *parsing, path string) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // as Vault's agent
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("the program's output: %w", err))
	}
	return f
}

// listen opens the sockets held for the program.
func listen(program *supervise.Supervisor) error {
	if err := program.Listen(); err != nil {
		return misconfigured{err}
	}
	return nil
}

// parsing collects problems, so that all are told at once.
type parsing struct{ errs []error }

func parse[T any](p *parsing, what, text string, f func(string) (T, error)) T {
	value, err := f(text)
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", what, err))
	}
	return value
}

func signalMap(p *parsing, pairs []config.SignalPair) signals.Map {
	var text []string
	for _, pair := range pairs {
		text = append(text, pair.From+"="+pair.To)
	}
	return parse(p, "signal map", strings.Join(text, ","), signals.ParseMap)
}

func sockets(p *parsing, list []config.Socket) []supervise.Socket {
	var out []supervise.Socket
	for _, s := range list {
		socket := supervise.Socket{Name: s.Name, Network: s.Network, Address: s.Address, Mode: fs.FileMode(s.Mode)}
		if owner := s.User; owner != "" {
			if s.Group != "" {
				owner += ":" + s.Group
			}
			socket.Owner = parse(p, "owner of socket "+s.Name, owner, supervise.LookupUser)
		}
		out = append(out, socket)
	}
	return out
}

// changeWindows reads the maintenance window, HH:MM-HH:MM by the local clock; one that
// ends before it begins reaches into the next day.
func changeWindows(p *parsing, text string) []supervise.Window {
	if text == "" {
		return nil
	}
	open, shut, _ := strings.Cut(text, "-")
	from := parse(p, "change window", open, timeOfDay)
	until := parse(p, "change window", shut, timeOfDay)
	if until <= from {
		until += 24 * time.Hour
	}
	return []supervise.Window{{From: from, Length: until - from, Location: time.Local}}
}

func timeOfDay(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

func crash(p *parsing, c config.Restart) supervise.Crash {
	return supervise.Crash{
		Restart:    parse(p, "restart", c.On, supervise.ParseWhen),
		Backoff:    c.MinBackoff,
		MaxBackoff: c.MaxBackoff,
		ResetAfter: c.ResetAfter,
		Limit:      c.Limit,
		Within:     c.Interval,
		Success:    statuses(p, c.Success),
		Prevent:    statuses(p, c.Prevent),
		Force:      statuses(p, c.Force),
	}
}

// statuses reads exit codes and signal names.
func statuses(p *parsing, list []string) []supervise.Status {
	var out []supervise.Status
	for _, s := range list {
		if code, err := strconv.ParseUint(s, 10, 8); err == nil {
			out = append(out, supervise.Status{Code: int(code)})
			continue
		}
		out = append(out, supervise.Status{Signal: parse(p, "restart status", s, signals.Parse)})
	}
	return out
}

// orNone keeps an explicit zero apart from "not set", which config has filled in already.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// taken are the signals that are envexec's own and do not reach the program.
func (j *job) taken(p *parsing) map[syscall.Signal]func() {
	taken := map[syscall.Signal]func(){}
	ask := func(what, name string, slot chan struct{}) {
		taken[parse(p, what, name, signals.Parse)] = func() {
			select {
			case slot <- struct{}{}:
			default: // one is asked for already
			}
		}
	}
	if name := j.cfg.Secrets.RefreshSignal; name != "" && j.vault != nil && j.vault.store != nil {
		ask("refresh signal", name, j.refresh)
	}
	switch name := j.cfg.Start.ReloadSignal; {
	case name != "":
		ask("reload signal", name, j.hangup)
	case len(j.cfg.Program.Args) == 0:
		ask("reload signal", "HUP", j.hangup)
	}
	return taken
}

// reloadOnSignal reads the configuration anew whenever the reload signal came.
func (j *job) reloadOnSignal(ctx context.Context) error {
	for {
		select {
		case <-j.hangup:
		case <-ctx.Done():
			return nil
		}
		if err := j.reload(ctx); err != nil && ctx.Err() == nil {
			j.log.Error("configuration cannot be reloaded", "error", err)
		}
	}
}

// reload reads the configuration anew and returns when what changed is in use; a service
// manager is told of both ends.
func (j *job) reload(ctx context.Context) error {
	if j.program == nil {
		return j.askReload(ctx)
	}
	inUse, err := j.program.Reload(ctx, j.askReload)
	if err != nil || !j.begun.Load() { // while Vault is waited for there is nothing to put in use
		return err
	}
	select {
	case <-inUse:
	case <-ctx.Done():
	}
	return nil
}

// refreshOnSignal reads the static secrets again whenever the refresh signal came.
// A service manager is told when it begins and when what changed is in use; the next
// signal does not wait for that: a burst is one change.
func (j *job) refreshOnSignal(ctx context.Context) error {
	for {
		select {
		case <-j.refresh:
		case <-ctx.Done():
			return nil
		}
		fault.Point("service")
		var err error
		if j.program != nil {
			_, err = j.program.Reload(ctx, j.refreshAll)
		} else {
			err = j.refreshAll(ctx)
		}
		if err != nil && ctx.Err() == nil {
			j.log.Warn("not every secret could be read again", "error", err)
		}
	}
}

// refreshAll reads the static secrets again; a program has what came of it then.
func (j *job) refreshAll(ctx context.Context) error {
	side := j.side()
	if side == nil || side.store == nil {
		return nil
	}
	err := side.store.RefreshAll(ctx)
	if j.program != nil {
		side.flush(ctx)
		j.handedOver(ctx)
	}
	return err
}

// handedOver returns once what was rendered before has reached the program's supervisor.
func (j *job) handedOver(ctx context.Context) {
	passed := make(chan struct{})
	select {
	case j.barriers <- passed:
	case <-ctx.Done():
		return
	}
	select {
	case <-passed:
	case <-ctx.Done():
	}
}

// finish turns the program's end into ours: its status, or its death by a signal
// repeated on ourselves, which shells and systemd tell apart from a status.
func (j *job) finish(st supervise.Status) int {
	for _, pair := range j.cfg.Program.MapExit {
		if st.Shell() == pair.From {
			return pair.To
		}
	}
	if st.Signal != 0 && !j.cfg.Program.NoReraise {
		supervise.Reraise(st.Signal)
	}
	return st.Shell()
}
