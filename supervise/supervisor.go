package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/internal/fault"
	"github.com/envexec/envexec/internal/systemd"
)

// Supervisor runs one program. Make one with New, call Run once.
type Supervisor struct {
	cfg  Config
	path string // of the program
	dir  string
	log  *slog.Logger

	m        machine
	events   chan news
	quit     chan struct{} // closed when nobody reads events any more
	wg       sync.WaitGroup
	gens     map[uint64]Generation
	newest   uint64
	changed  []string // names since the last applied Generation
	latest   []string // names of the change applied last, until it has settled
	running  map[uint64]*running
	settled  chan uint64
	finished *action

	sockets   []held
	listening bool
	mgr       manager
	life      context.Context //nolint:containedctx // of what runs beside the program; ends when the loop has ended
	null      *os.File        // standard input of what runs beside the program
}

// running is what the supervisor holds for one child.
type running struct {
	child      uint64
	generation uint64
	cancel     context.CancelFunc // gives up the launch, later the readiness probes
	ctx        context.Context    //nolint:containedctx // lives exactly as long as the child
	proc       process            // nil while launching
	pid        int
	ended      bool // collected or about to be
	env        []string
	notify     *systemd.Receiver // nil: the program gets no NOTIFY_SOCKET
	readyPipe  *os.File          // our end; nil without
}

// news is an event with what only the supervisor itself needs to know.
type news struct {
	event   event
	proc    process
	stopped syscall.Signal // job control stopped proc; there is no event then
	call    func()         // to be run on the loop; there is no event then
	message *systemd.Message
}

// New checks cfg, finds the program and returns a Supervisor. All problems are
// joined; a program that is missing or cannot be run is a *StartError.
func New(cfg Config) (*Supervisor, error) {
	cfg.fill()
	s := &Supervisor{
		cfg: cfg, log: cfg.Logger,
		events: make(chan news), quit: make(chan struct{}),
		gens: map[uint64]Generation{}, running: map[uint64]*running{},
		settled: make(chan uint64, 1),
	}
	err := s.cfg.check()
	if err == nil || len(cfg.Command) > 0 && cfg.Command[0] != "" {
		var perr error
		s.dir = workDir(cfg.Dir)
		s.path, perr = findProgram(cfg.Command[0], cfg.Path, s.dir)
		err = errors.Join(err, perr)
	}
	if err != nil {
		return nil, err
	}
	s.m = machine{cfg: &s.cfg}
	return s, nil
}

// Settled yields the ID of a Generation once its program is ready and has lived
// for MinUptime: what the Generations before it needed may then be given up. It
// holds one ID, the newest, and is closed when Run returns.
func (s *Supervisor) Settled() <-chan uint64 { return s.settled }

// Run starts the program with the first Generation and returns when it has
// ended for good and nothing of it is left. The status is the program's own; a
// signal that ends Run before a program runs is reported as a death by that
// signal. The error is nil unless the program could not be started (*StartError),
// never became ready or does not end. The end of ctx stops the program.
func (s *Supervisor) Run(ctx context.Context, gens <-chan Generation) (Status, error) {
	sigs := s.cfg.Signals
	if sigs == nil {
		sigs = Catch(nil)
		defer sigs.Release()
	}
	<-sigs.all
	if s.cfg.host == nil {
		adoptOrphans(!s.cfg.NoSubreaper, s.log)
		s.cfg.host = newHost()
	}
	if s.cfg.tty == nil {
		s.cfg.tty = newTerminal()
	}
	defer close(s.settled)
	defer s.cfg.host.close()
	defer s.cfg.tty.reclaim()
	if err := s.open(); err != nil {
		close(s.quit)
		return Status{}, err
	}
	defer s.close()
	var end context.CancelFunc
	s.life, end = context.WithCancel(context.WithoutCancel(ctx))
	err := fault.Try(func() error { s.loop(ctx, gens, sigs); return nil })
	if err != nil {
		s.abandon()
		s.finished = &action{err: err}
	}
	end()
	close(s.quit)
	for _, r := range s.running {
		r.release()
	}
	s.wg.Wait()
	return s.finished.status, s.finished.err
}

// open gets hold of what all programs share.
func (s *Supervisor) open() error {
	var err error
	if s.null, err = os.Open(os.DevNull); err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	if err := s.Listen(); err != nil {
		_ = s.null.Close()
		return err
	}
	s.greet()
	return nil
}

func (s *Supervisor) close() {
	s.closeSockets()
	_ = s.null.Close()
}

func (s *Supervisor) loop(ctx context.Context, gens <-chan Generation, sigs *Signals) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ended := ctx.Done()
	var beat <-chan time.Time
	if d := s.beat(); d > 0 {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		beat = ticker.C
		s.onBeat() // a short TimeoutStartSec may be over before the first tick
	}
	for s.finished == nil {
		s.arm(timer)
		select {
		case g, ok := <-gens:
			if !ok {
				gens = nil
				s.noMore(ctx)
				continue
			}
			s.receive(ctx, g)
		case sig := <-sigs.term:
			s.signal(ctx, sig)
		case sig := <-sigs.int:
			s.signal(ctx, sig)
		case sig := <-sigs.quit:
			s.signal(ctx, sig)
		case sig := <-sigs.hup:
			s.signal(ctx, sig)
		case sig := <-sigs.rest:
			s.signal(ctx, sig)
		case n := <-s.events:
			s.take(ctx, n)
		case <-timer.C:
			s.step(ctx, event{kind: evTick})
		case <-beat:
			s.onBeat()
		case <-ended:
			ended = nil
			s.stopForContext(ctx)
		}
	}
}

// arm sets the timer to the machine's earliest deadline.
func (s *Supervisor) arm(timer *time.Timer) {
	if at := s.m.wake(); !at.IsZero() {
		timer.Reset(min(max(0, at.Sub(s.cfg.clock())), clock.MaxSleep))
		return
	}
	timer.Stop()
}

// step feeds one event to the machine and does what it says. ctx only serves
// what is started on the way: the end of ctx does not take the program along.
func (s *Supervisor) step(ctx context.Context, e event) {
	before := s.m.state
	if e.kind == evExit || e.kind == evSpawnFailed || e.kind == evTick {
		e.usable = s.usable(s.m.previous)
	}
	if e.kind == evTick {
		e.deadline = s.deadline()
	}
	var actions []action
	s.m, actions = s.m.step(s.cfg.clock(), e)
	if before != s.m.state {
		s.log.Debug("supervisor state", "from", before.String(), "to", s.m.state.String(), "event", e.kind.String())
		if s.cfg.Trace.State != nil {
			s.cfg.Trace.State(s.m.state.String())
		}
	}
	for _, a := range actions {
		s.perform(ctx, a)
	}
	if before != s.m.state {
		s.tellState()
	}
	s.endReloads()
}

// noMore: there will be no further Generation.
func (s *Supervisor) noMore(ctx context.Context) {
	if s.m.state != waiting {
		return
	}
	s.m.err = ErrNoGeneration
	if err := context.Cause(ctx); err != nil {
		s.m.err = err
	}
	s.finished = &action{err: s.m.err}
}

// spawn runs f beside the loop; its panic is the loop's.
func (s *Supervisor) spawn(f func()) {
	s.wg.Go(func() {
		if err := fault.Try(func() error { f(); return nil }); err != nil {
			s.post(news{call: func() { panic(err) }})
		}
	})
}

// post hands an event to the loop, unless the loop has ended.
func (s *Supervisor) post(n news) {
	select {
	case s.events <- n:
	case <-s.quit:
	}
}
