package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/internal/admin"
	"github.com/envexec/envexec/supervise"
)

// run is everything between the doorbell and the exit status.
func run(m *manager, args, inherited []string, stdout, stderr io.Writer) int {
	// First of all: a TERM from now on ends us in order, whatever we are doing.
	sigs := supervise.Catch(os.Getenv)
	harden()
	env := environ.From(inherited)
	cfg, sig, err := parseConfig(args, env, sigs)
	if sig != 0 {
		return diedOf(sig)
	}
	if err != nil {
		if status, told := printBad(args, err, stdout); told {
			return status
		}
	}
	var status int
	if err == nil {
		err = absolute(cfg)
	}
	if err == nil && !(cfg.Word == config.Check && cfg.Check.Offline) {
		err = addresses(cfg)
	}
	if err == nil {
		status, err = dispatch(m, cfg, env, sigs, stdout, stderr)
	}
	if err != nil {
		m.tellFailed(err)
		return complain(stderr, err)
	}
	return status
}

// dispatch runs the command word, or the program when there is none.
func dispatch(m *manager, cfg *config.Config, env environ.Environ, sigs *supervise.Signals, stdout, stderr io.Writer) (int, error) {
	ctx := context.Background()
	switch cfg.Word {
	case config.Version:
		return printVersion(stdout), nil
	case config.Completion:
		_, err := fmt.Fprint(stdout, cfg.Words[0])
		return 0, err
	case config.Help:
		return 0, printHelp(stdout, cfg.Words[0], env)
	case config.Status, config.Reload, config.Check, config.Init:
		return untilSignal(ctx, sigs, func(ctx context.Context) (int, error) { return command(ctx, cfg, env, stdout, stderr) })
	case config.Render:
		return runRender(ctx, cfg, env, sigs, stdout, stderr)
	case config.Run, config.Proxy:
		return runJob(ctx, m, cfg, env, sigs, stderr)
	case config.Service:
		return runService(cfg.Service, env.List(), stdout)
	}
	return 0, &config.UsageError{Message: fmt.Sprintf("envexec %s does not exist on this system", cfg.Word)}
}

// command runs a word that starts nothing.
func command(ctx context.Context, cfg *config.Config, env environ.Environ, stdout, stderr io.Writer) (int, error) {
	switch cfg.Word {
	case config.Status:
		return printStatus(ctx, stdout, target(cfg, env), cfg.Check.Format)
	case config.Reload:
		_, err := admin.Call(ctx, target(cfg, env), "reload")
		return 0, err
	case config.Check:
		return runCheck(ctx, cfg, env, stdout)
	default:
		return runInit(ctx, cfg, env, os.Stdin, stdout, stderr)
	}
}

// runJob runs the program, or an agent without one, to its end.
func runJob(ctx context.Context, m *manager, cfg *config.Config, env environ.Environ, sigs *supervise.Signals, stderr io.Writer) (int, error) {
	started := restCollector(env)
	log, err := newLogging(cfg.Log, stderr)
	if err != nil {
		return 0, err
	}
	defer log.close()
	if m != nil {
		log.log = slog.New(slog.NewMultiHandler(log.log.Handler(), m.events))
	}
	for _, w := range cfg.Warnings {
		log.log.Warn("configuration", "problem", w.Error())
	}
	if cfg.PIDFile != "" {
		if err := os.WriteFile(cfg.PIDFile, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
			return 0, misconfigured{fmt.Errorf("write the process id: %w", err)}
		}
		defer func() { _ = os.Remove(cfg.PIDFile) }()
	}
	j, err := newJob(cfg, env, log, sigs)
	if err != nil {
		return 0, err
	}
	j.manager, j.started = m, started
	status, err := j.run(ctx)
	if err != nil {
		return 0, err
	}
	return j.finish(status), nil
}

// target is the running envexec that status and reload ask.
func target(cfg *config.Config, env environ.Environ) admin.Target {
	return admin.Target{Dir: runtimeDir(env), Path: cfg.AdminPath(), PID: cfg.Check.PID}
}

// job is one life of envexec: the vault side, if any secret or listener is
// wanted, and the program, if there is one.
type job struct {
	cfg  *config.Config
	env  environ.Environ
	log  *slog.Logger
	sigs *supervise.Signals

	mu        sync.Mutex            // guards cfg, vault and leaving for readers beside the conductor
	vault     *vaultSide            // nil: nothing wanted from Vault, no login, no network
	leaving   []departure           // vault sides that a reload replaced
	departing sync.WaitGroup        // those that are ending
	program   *supervise.Supervisor // nil: an agent without a program
	state     state

	stdout, stderr *os.File // the program's; nil = ours

	manager *manager // nil where there is none
	started func()   // to be called when what we are for has begun

	logging    *logging
	ownSignals map[syscall.Signal]func() // that envexec itself acts on
	references []string                  // the inherited variables whose value is a reference
	rules      changeRules
	refresh    chan struct{}      // one slot: a signal asked for it
	hangup     chan struct{}      // one slot: a signal asked for a reload
	reloads    chan chan error    // asked for; the answer goes into the inner one
	barriers   chan chan struct{} // asked for; the inner one is closed when what is rendered has been handed over
	unwritten  bool               // the conductor's: the last files are not in place
	begun      atomic.Bool        // the first generation was handed on
}

func newJob(cfg *config.Config, env environ.Environ, logging *logging, sigs *supervise.Signals) (*job, error) {
	j := &job{
		cfg: cfg, env: env, log: logging.log, logging: logging, sigs: sigs,
		refresh: make(chan struct{}, 1), hangup: make(chan struct{}, 1), reloads: make(chan chan error),
		barriers: make(chan chan struct{}),
	}
	var vaultErr, programErr error
	j.vault, vaultErr = newVaultSide(cfg, env, j.log, nil)
	wanted, _ := wantedSecrets(cfg) // newVaultSide has told what is wrong with it
	j.references = wanted.references
	p := &parsing{}
	j.ownSignals = j.taken(p)
	j.rules = newChangeRules(p, cfg, j.references)
	if err := errors.Join(p.errs...); err != nil {
		return nil, misconfigured{err}
	}
	if len(cfg.Program.Args) > 0 && !cfg.Program.Exec {
		j.stdout, j.stderr = outputFile(p, cfg.Program.Stdout), outputFile(p, cfg.Program.Stderr)
		if err := errors.Join(p.errs...); err != nil {
			return nil, misconfigured{err}
		}
		j.program, programErr = j.newProgram()
		if programErr == nil {
			// Before any login: a socket that cannot be bound is a mistake in the configuration.
			programErr = listen(j.program)
		}
	}
	if err := errors.Join(vaultErr, programErr); err != nil {
		if j.vault != nil {
			j.vault.drop.remove()
		}
		return nil, err
	}
	if j.vault == nil && len(cfg.Program.Args) == 0 {
		return nil, &config.UsageError{Message: "nothing to do: no program, no secret and no listener", Hint: "write envexec [flags] -- PROGRAM [ARGS]"}
	}
	return j, nil
}

// revokePatience bounds the revocation at the end: a Vault that is away must not
// hold up a program's exit. What is left then ends with its TTL.
const revokePatience = 5 * time.Second

func (j *job) run(ctx context.Context) (supervise.Status, error) {
	if j.cfg.Program.Exec {
		return j.become(ctx)
	}
	s, program := newServices(ctx)
	var (
		status supervise.Status
		err    error
	)
	switch {
	case j.program == nil:
		j.serveAside(s)
		status, err = j.agent(program, s)
	default:
		gens := make(chan supervise.Generation) // no slot: what was handed over has been received
		j.feed(s, gens)
		j.serveAside(s) // the login is under way: nothing here is worth a moment of it
		status, err = j.program.Run(program, gens)
	}
	// The cause first: a program ended because a service failed is that failure.
	if cause := context.Cause(program); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	s.stop()
	if j.vault != nil {
		j.vault.drop.remove()
	}
	j.revoke(ctx)
	return status, err
}

// serveAside starts what serves others than the program.
func (j *job) serveAside(s *services) {
	j.serveStatus(s)
	s.start("refresh", j.refreshOnSignal)
	s.start("reload", j.reloadOnSignal)
}

// revoke ends the tokens envexec logged in for, after everybody has stopped using them.
func (j *job) revoke(ctx context.Context) {
	j.depart(func(departure) bool { return true })
	j.departing.Wait()
	j.vault.revoke(ctx)
}

// feed gives the program its generations: the one and only when there is nothing
// to fetch, else those the vault side renders.
func (j *job) feed(s *services, gens chan<- supervise.Generation) {
	base := j.vault.guide(surroundings(j.cfg))
	if err := base.Check(j.cfg.Program.Args...); err != nil {
		s.fail(misconfigured{err})
		return
	}
	started := j.giveUpAfter(s)
	if j.vault != nil {
		j.vault.start(s, s.fail)
	}
	s.start("settled", func(ctx context.Context) error {
		for id := range j.program.Settled() {
			j.settle(id)
		}
		return nil
	})
	s.start("environment", func(ctx context.Context) error {
		return j.conduct(ctx, s, func(ctx context.Context, d delivery) error {
			next, err := j.generation(d)
			if err != nil && d.ID == 1 {
				return err
			}
			if err != nil {
				j.log.Error("the program keeps the secrets it has", "error", err)
				return nil
			}
			select {
			case gens <- next:
				started()
			case <-ctx.Done():
			}
			return nil
		})
	})
}

// generation is g as the program gets it.
func (j *job) generation(g delivery) (supervise.Generation, error) {
	all, err := j.merge(g.base, g.Generation)
	if err != nil {
		return supervise.Generation{}, err
	}
	rule := j.rules.of(g.Changed)
	if g.restart {
		rule.policy = max(rule.policy, j.rules.program.policy, supervise.Overlap) // which is a restart where it cannot be
	}
	all, memory := inMemory(all, g.Files)
	side := j.vault // a reload may put another in its place
	return supervise.Generation{
		ID: g.ID, Env: all.List(), Memory: memory, Changed: g.Changed, Prepare: g.WriteFiles,
		Policy: rule.policy, Signals: rule.signals, Hooks: rule.hooks,
		EndsIn: func() (time.Duration, bool) { return side.endsIn(g.ID) },
	}, nil
}

// merge is the program's environment with g's variables, checked for what exec takes.
func (j *job) merge(base environ.Environ, g envtemplate.Generation) (environ.Environ, error) {
	all, err := inject(base, g.Vars, j.references, j.cfg.Environment.OnConflict)
	if err != nil {
		return all, err
	}
	all = j.vault.withToken(all)
	if err := all.Check(j.cfg.Program.Args...); err != nil {
		return all, misconfigured{err}
	}
	return all, nil
}

// agent serves without a program until TERM or INT: sinks, files, listeners.
func (j *job) agent(program context.Context, s *services) (supervise.Status, error) {
	ctx, stop := context.WithCancel(program)
	defer stop()
	started := j.giveUpAfter(s)
	j.vault.start(s, s.fail)
	s.start("files", func(ctx context.Context) error {
		return j.conduct(ctx, s, func(ctx context.Context, g delivery) error {
			if err := j.write(ctx, g.Generation); err != nil {
				return err
			}
			j.settle(g.ID)
			j.state.change(func(s *state) { s.ready, s.generation = true, g.ID })
			j.manager.tellReady()
			j.started()
			started()
			if j.cfg.Start.ExitAfterAuth || j.cfg.Start.Once {
				stop()
			}
			return nil
		})
	})
	j.sigs.WaitTaking(ctx, j.ownSignals)
	return supervise.Status{}, nil
}

// write puts g's files in place. What hinders that is a mistake at the start; later
// on, and where only a command after them failed, it is tried again until it works or
// newer files are there: an agent that ends would help nobody.
func (j *job) write(ctx context.Context, g envtemplate.Generation) error {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := g.WriteFiles(ctx)
		var command *envtemplate.CommandError
		if err == nil || ctx.Err() != nil || g.ID == 1 && !errors.As(err, &command) {
			return err
		}
		j.log.Warn("files are not as they should be", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case answer := <-j.reloads: // which may mend it: back to the conductor
			go func() { j.reloads <- answer }()
			j.unwritten = true
			return nil
		case <-ctx.Done():
		}
		if len(j.vault.generations()) > 0 {
			return nil
		}
	}
}

// giveUpAfter ends the job when the start takes longer than --start-timeout; the
// function it returns says that the start is over.
func (j *job) giveUpAfter(s *services) (started func()) {
	limit := j.cfg.Start.Timeout
	if limit <= 0 || j.vault == nil {
		return func() {}
	}
	timer := time.AfterFunc(limit, func() { s.fail(j.side().unreachable(limit)) })
	return func() { timer.Stop() }
}
