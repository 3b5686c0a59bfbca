package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/envexec/envexec/internal/systemd"
	"github.com/envexec/envexec/signals"
)

// Policy is what happens to the program when its secrets change. Of several
// changes that are applied together the strongest (highest) wins.
type Policy uint8

const (
	// Inherit is the zero Policy: Config.OnChange for a Generation, Restart for a Config.
	Inherit Policy = iota
	// None writes the files and leaves the program alone.
	None
	// Signal sends a signal after the files are written.
	Signal
	// Hook runs a command after the files are written; signals that the change needs too are sent before.
	Hook
	// Overlap starts the successor, waits until it is ready, then stops the old program.
	Overlap
	// Restart stops the program, then starts it anew.
	Restart
	// Exit stops the program and ends Run with its status.
	Exit
)

var policyNames = [...]string{"inherit", "none", "signal", "hook", "overlap", "restart", "exit"}

// String returns the word used in the configuration.
func (p Policy) String() string { return policyNames[p] }

// ParsePolicy reads restart, overlap, signal, hook, exit or none.
func ParsePolicy(s string) (Policy, error) {
	for i, name := range policyNames {
		if i > 0 && name == s {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("unknown change policy %q: want restart, overlap, signal, hook, exit or none", s)
}

// Generation is one complete set of secrets for the program.
type Generation struct {
	ID      uint64   // unique and greater than 0; one that equals the last received is ignored
	Env     []string // the program's whole environment, used as it is but for the systemd variables
	Memory  []Memory // files in memory, passed to the program but not to hooks and probes beside it; Linux only, see HasMemory
	Changed []string // names of what differs from the Generation before, for the log
	Policy  Policy   // how this change wants to be applied; Inherit = Config.OnChange

	// What Signal and Hook do, each once and in this order, signals first. A change
	// of several secrets may need more than one. Empty = Config.ChangeSignal, Config.Hook.
	Signals []syscall.Signal
	Hooks   [][]string

	// Prepare writes the files of this Generation; nil = nothing to do. It is
	// called before the program is started, signalled or stopped, again when an
	// older Generation is rolled back to, and never twice at the same time.
	Prepare func(ctx context.Context) error

	// EndsIn tells how long these values still work; false = no end is known, and nil
	// the same. It is asked before they are rolled back to, and while they are in use
	// and their successor waits for Splay, Budget or Windows: it then waits until a
	// minute before that end at most. It must not block.
	EndsIn func() (time.Duration, bool)
}

// Config says what to run and how to treat it. Zero values are the defaults.
type Config struct {
	Command []string // program and arguments; required
	Path    string   // search path for a Command[0] without a slash; root passes its own PATH
	Dir     string   // working directory; "" = the present one
	User    *User    // run the program as; nil = as we are. See LookupUser

	Stdin, Stdout, Stderr *os.File // nil = descriptors 0, 1, 2, handed on untouched

	OnChange     Policy         // default Restart
	ChangeSignal syscall.Signal // for Signal; default HUP
	ExitCode     int            // for Exit: the status then; negative = the program's own
	Hook         []string       // command for Hook, run with the Generation's environment
	HookTimeout  time.Duration  // default 30s, then it is killed

	StopSignal  syscall.Signal // our own stops; default TERM
	StopTimeout time.Duration  // from our own stop to KILL; default 30s
	TermTimeout time.Duration  // from a stop asked for from outside to KILL; 0 = never
	Grace       time.Duration  // from TERM to KILL for what the program left behind; default 3s
	Leftovers   bool           // true = leave alone what the program left behind

	SignalMap     signals.Map               // rewriting of signals from outside
	SignalGroup   bool                      // forward to the program's group instead of the program
	Taken         map[syscall.Signal]func() // signals that are ours: the func is called, it must not block, and nothing is forwarded
	KeepEnv       []string                  // variables of a service manager that the program is to see all the same
	Manager       systemd.Environment       // what the service manager told us; see systemd.Read
	StartExtend   time.Duration             // how long a slow start is excused to the service manager; default 10m, negative = 0
	Sockets       []Socket                  // held for the program
	NoSubreaper   bool                      // do not adopt orphans when we are not PID 1
	NoParentDeath bool                      // do not send TERM to the program when we are killed
	Signals       *Signals                  // caught early by the caller; nil = Run catches them itself

	Quiet     time.Duration // a change waits until there was none for so long; default 500ms, negative = 0
	QuietMax  time.Duration // but no longer than this; default 5s
	Splay     time.Duration // then a random part of this; default 0
	MinUptime time.Duration // a program that lived so long is healthy; default 10s, negative = 0

	Ready   Ready    // how the program proves that it is ready; default: it is when it has started
	Budget  Budget   // how many rotations are allowed; default any number
	Windows []Window // when rotations are allowed; default always
	Crash   Crash    // restart of a program that ended by itself; default never
	Logger  *slog.Logger
	Trace   Trace

	clock func() time.Time
	rand  func() float64 // in [0,1)
	host  host
	tty   terminal
}

// Trace holds optional callbacks. They run on the supervisor's goroutine and must not block.
type Trace struct {
	Started  func(pid int, generation uint64)             // a program was started
	Ready    func(pid int, generation uint64)             // it is ready and is now the current one
	Exited   func(pid int, generation uint64, st Status)  // a program ended
	Rotated  func(generation uint64, p Policy, err error) // a change was applied, or could not be
	State    func(name string)                            // the supervisor changed its state
	Signaled func(sig syscall.Signal)                     // a signal was forwarded
}

func orDefault(d *time.Duration, def time.Duration) {
	switch {
	case *d == 0:
		*d = def
	case *d < 0:
		*d = 0
	}
}

// fill puts in the defaults.
func (c *Config) fill() {
	orDefault(&c.HookTimeout, 30*time.Second)
	orDefault(&c.StopTimeout, 30*time.Second)
	orDefault(&c.Grace, 3*time.Second)
	orDefault(&c.Quiet, 500*time.Millisecond)
	orDefault(&c.QuietMax, 5*time.Second)
	orDefault(&c.MinUptime, 10*time.Second)
	orDefault(&c.StartExtend, 10*time.Minute)
	c.Crash.fill()
	c.Ready.fill()
	if c.OnChange == Inherit {
		c.OnChange = Restart
	}
	if c.StopSignal == 0 {
		c.StopSignal = syscall.SIGTERM
	}
	if c.ChangeSignal == 0 {
		c.ChangeSignal = syscall.SIGHUP
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.rand == nil {
		c.rand = randomFraction
	}
}

// check returns every problem at once.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Command) == 0 || c.Command[0] == "" {
		errs = append(errs, &StartError{Code: 127, Err: errors.New("no program named")})
	}
	if c.OnChange == Hook && len(c.Hook) == 0 {
		bad("on change hook: no hook command named")
	}
	for sig := range c.Taken {
		if !signals.CanForward(sig) {
			bad("signal %s cannot be caught", signals.Name(sig))
		}
	}
	if c.QuietMax < c.Quiet {
		bad("maximum quiet period %v is shorter than the quiet period %v", c.QuietMax, c.Quiet)
	}
	if info, err := os.Stat(c.Dir); c.Dir != "" && (err != nil || !info.IsDir()) {
		bad("working directory %q: there is no such directory", c.Dir)
	}
	return errors.Join(append(errs, c.Crash.check(), c.Ready.check(c), c.checkSockets(), c.checkPlan())...)
}
