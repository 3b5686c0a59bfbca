package supervise

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// fakeHost starts processes that only exist in memory.
type fakeHost struct {
	mu      sync.Mutex
	started chan *fakeProcess
	fail    []error // for the coming starts
	specs   []spec
	next    int
}

func newFakeHost() *fakeHost { return &fakeHost{started: make(chan *fakeProcess, 64), next: 100} }

func (h *fakeHost) start(s spec) (process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.specs = append(h.specs, s)
	if len(h.fail) > 0 {
		err := h.fail[0]
		h.fail = h.fail[1:]
		if err != nil {
			return nil, err
		}
	}
	h.next++
	p := &fakeProcess{id: h.next, env: s.env, signals: make(chan syscall.Signal, 64), ended: make(chan Status, 1)}
	h.started <- p
	return p, nil
}

func (h *fakeHost) close() {}

func (h *fakeHost) starts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.specs)
}

// fakeProcess dies of TERM and KILL unless it is stubborn.
type fakeProcess struct {
	id       int
	env      []string
	signals  chan syscall.Signal
	ended    chan Status
	stubborn bool
	cleaned  time.Duration // how long its leftovers take
	once     sync.Once
	reaped   bool
}

func (p *fakeProcess) pid() int { return p.id }

func (p *fakeProcess) wait(func(syscall.Signal)) Status { return <-p.ended }

func (p *fakeProcess) exit(st Status) { p.once.Do(func() { p.ended <- st }) }

func (p *fakeProcess) signal(sig syscall.Signal, _ bool) error {
	p.signals <- sig
	return nil
}

func (p *fakeProcess) stop(sig syscall.Signal, _ bool) error {
	p.signals <- sig
	if !p.stubborn {
		p.exit(Status{Signal: sig})
	}
	return nil
}

func (p *fakeProcess) kill(bool) error {
	p.exit(Status{Signal: syscall.SIGKILL})
	return nil
}

func (p *fakeProcess) clean(context.Context, time.Duration, bool) { time.Sleep(p.cleaned) }

func (p *fakeProcess) reap() { p.reaped = true }

// fakeTerminal is none.
type fakeTerminal struct{}

func (fakeTerminal) owned() bool                     { return false }
func (fakeTerminal) fork(start func())               { start() }
func (fakeTerminal) reclaim()                        {}
func (fakeTerminal) suspend(process, syscall.Signal) {}
func (fakeTerminal) resume(process)                  {}

// stage is a Supervisor in a bubble of fake time.
type theatre struct {
	t      *testing.T
	sup    *Supervisor
	host   *fakeHost
	gens   chan Generation
	sigs   *Signals
	cancel context.CancelFunc
	result chan outcome
}

type outcome struct {
	status Status
	err    error
}

// play runs body in a bubble with a running Supervisor, which body must end.
func play(t *testing.T, adjust func(*Config), body func(*theatre)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		th := &theatre{t: t, host: newFakeHost(), gens: make(chan Generation), result: make(chan outcome, 1)}
		th.sigs = &Signals{
			term: make(chan syscall.Signal), int: make(chan syscall.Signal), quit: make(chan syscall.Signal),
			hup: make(chan syscall.Signal), rest: make(chan syscall.Signal), all: make(chan struct{}),
		}
		close(th.sigs.all)
		self, err := os.Executable() // any program that is there: the fake host starts none
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Command: []string{self}, Signals: th.sigs, host: th.host, tty: fakeTerminal{}}
		if adjust != nil {
			adjust(&cfg)
		}
		if th.sup, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		th.cancel = cancel
		defer cancel()
		go func() {
			st, err := th.sup.Run(ctx, th.gens)
			th.result <- outcome{st, err}
		}()
		body(th)
		synctest.Wait()
		select {
		case <-th.result:
		default:
			t.Error("Run has not returned")
			cancel()
		}
	})
}

func (th *theatre) generation(id uint64, changed ...string) {
	th.gens <- Generation{ID: id, Env: []string{fmt.Sprintf("GEN=%d", id)}, Changed: changed}
}

// program returns the next program to be started.
func (th *theatre) program() *fakeProcess {
	th.t.Helper()
	return <-th.host.started
}

// ends expects Run to return so.
func (th *theatre) ends(want Status) {
	th.t.Helper()
	got := <-th.result
	if got.err != nil || got.status != want {
		th.t.Errorf("Run returns %v, %v; want %v", got.status, got.err, want)
	}
	th.result <- got
}

func (p *fakeProcess) has(v string) bool { return slices.Contains(p.env, v) }

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m)
}
