package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/envexec/envexec/config"
)

// fakeEvents notes what would be in the event log.
type fakeEvents struct{ list []string }

func (f *fakeEvents) note(kind string, id uint32, text string) error {
	f.list = append(f.list, fmt.Sprintf("%s %d %s", kind, id, strings.TrimSpace(text)))
	return nil
}

func (f *fakeEvents) Info(id uint32, text string) error    { return f.note("info", id, text) }
func (f *fakeEvents) Warning(id uint32, text string) error { return f.note("warning", id, text) }
func (f *fakeEvents) Error(id uint32, text string) error   { return f.note("error", id, text) }
func (f *fakeEvents) Close() error                         { return nil }

// managed is a service in a bubble of fake time, with the test as its manager.
type managed struct {
	t        *testing.T
	events   fakeEvents
	manager  *manager // what the job was given
	end      chan int
	stops    int
	requests chan svc.ChangeRequest
	changes  chan svc.Status
	code     chan uint32
}

func manage(t *testing.T, body func(*managed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &managed{
			t: t, end: make(chan int), requests: make(chan svc.ChangeRequest), changes: make(chan svc.Status, 100), code: make(chan uint32, 1),
		}
		started := make(chan *manager, 1)
		s := &service{
			job: func(given *manager, _, _ io.Writer) int {
				started <- given
				return <-m.end
			},
			stop:   func() { m.stops++ },
			events: func(string) eventLog { return newEventLog(&m.events) },
		}
		go func() {
			specific, code := s.Execute([]string{"demo"}, m.requests, m.changes)
			if !specific {
				t.Error("the exit code is not service-specific")
			}
			m.code <- code
		}()
		m.manager = <-started
		body(m)
	})
}

// told is the last status the manager got since it looked last.
func (m *managed) told() (last svc.Status, n int) {
	synctest.Wait()
	for {
		select {
		case last = <-m.changes:
			n++
		default:
			return last, n
		}
	}
}

func (m *managed) ends(status int, want uint32) {
	m.t.Helper()
	m.end <- status
	if got := <-m.code; got != want {
		m.t.Errorf("exit code 0x%x, want 0x%x", got, want)
	}
}

func TestServiceStartsWhenTheProgramIsReady(t *testing.T) {
	manage(t, func(m *managed) {
		first, _ := m.told()
		if first.State != svc.StartPending || first.CheckPoint != 1 || first.WaitHint == 0 || first.Accepts != 0 {
			t.Errorf("%+v", first)
		}
		time.Sleep(time.Hour) // Vault is away
		last, n := m.told()
		if last.State != svc.StartPending || n < int(time.Hour/serviceBeat)/2 && n < 100 || last.CheckPoint <= first.CheckPoint {
			t.Errorf("%d times, last %+v", n, last)
		}
		m.manager.tellReady()
		if last, _ = m.told(); last.State != svc.Running || last.Accepts != accepted {
			t.Errorf("%+v", last)
		}
		m.manager.tellReady() // a restarted program
		time.Sleep(time.Hour)
		if _, n := m.told(); n != 0 {
			t.Errorf("the manager was told %d times for nothing", n)
		}
		m.requests <- svc.ChangeRequest{Cmd: svc.Interrogate}
		if last, _ = m.told(); last.State != svc.Running {
			t.Errorf("interrogated: %+v", last)
		}
		m.ends(0, 0)
		if got := strings.Join(m.events.list, "\n"); got != "info 1 running: the program is ready\ninfo 2 stopped" {
			t.Errorf("events:\n%s", got)
		}
	})
}

func TestServiceStops(t *testing.T) {
	for _, cmd := range []svc.Cmd{svc.Stop, svc.Shutdown, svc.PreShutdown} {
		manage(t, func(m *managed) {
			m.manager.tellReady()
			m.told()
			m.requests <- svc.ChangeRequest{Cmd: cmd}
			last, _ := m.told()
			if last.State != svc.StopPending || last.Accepts != 0 || last.WaitHint == 0 || m.stops != 1 {
				t.Errorf("%v: %+v, %d stops", cmd, last, m.stops)
			}
			m.requests <- svc.ChangeRequest{Cmd: svc.Shutdown} // preshutdown is followed by it
			time.Sleep(3 * serviceBeat)
			if last, n := m.told(); last.State != svc.StopPending || last.CheckPoint < 3 || n < 2 || m.stops != 1 {
				t.Errorf("%v: %d times, last %+v, %d stops", cmd, n, last, m.stops)
			}
			m.ends(int(controlExit), 0)
		})
	}
}

// Our own failure is told apart from the program's, whatever that ends with.
func TestServiceExitCodes(t *testing.T) {
	for _, tc := range []struct {
		status  int
		failure error
		stopped bool
		want    uint32
		event   string
	}{
		{0, nil, false, 0, "info 2 stopped"},
		{7, nil, false, 7, "error 3 the program ended with exit code 7 (0x7)"},
		{78, nil, false, 78, "error 3 the program ended with exit code 78 (0x4E)"},
		{0xC0000005, nil, false, 0xC0000005, "error 3 the program ended with exit code 3221225477 (0xC0000005)"},
		{78, misconfigured{errors.New("app.hcl:1:1: wrong")}, false, 0xE0EE004E, "error 4 app.hcl:1:1: wrong\nexit status 78 of envexec, service exit code 0xE0EE004E"},
		{75, fmt.Errorf("%w: refused", errUnreachable), true, 0xE0EE004B, "error 4 vault is not reachable: refused\nhint: check VAULT_ADDR"},
		{7, nil, true, 7, "error 3"},
		{137, nil, true, 0, "info 2"},
		{143, nil, true, 0, "info 2"},
		{143, nil, false, 143, "error 3"},
		{int(controlExit), nil, true, 0, "info 2"},
		{int(controlExit), nil, false, controlExit, "error 3"},
	} {
		var events fakeEvents
		if got := newEventLog(&events).ended(tc.status, tc.failure, tc.stopped); got != tc.want {
			t.Errorf("%+v: 0x%x", tc, got)
		}
		if len(events.list) != 1 || !strings.HasPrefix(events.list[0], tc.event) {
			t.Errorf("%+v: %q", tc, events.list)
		}
		end := describeEnd(svc.Status{Win32ExitCode: 1066, ServiceSpecificExitCode: tc.want})
		if own := strings.HasPrefix(end, "envexec ended with status "); own != (tc.failure != nil) {
			t.Errorf("%+v is described as %q", tc, end)
		}
	}
}

func TestServiceFailureIsTold(t *testing.T) {
	manage(t, func(m *managed) {
		m.manager.tellFailed(&config.UsageError{Message: "unknown flag --x"})
		m.ends(64, 0xE0EE0040)
		if len(m.events.list) != 1 || !strings.Contains(m.events.list[0], "unknown flag --x") {
			t.Errorf("%q", m.events.list)
		}
	})
}

// Warnings and errors of the log are events, with their attributes; what is less is not.
func TestEventsAreWarningsAndErrors(t *testing.T) {
	var events fakeEvents
	var file bytes.Buffer
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&file, nil), newEventLog(&events)))
	log.Info("logged in")
	log.With("secret", "kv/app").WithGroup("g").Warn("cannot read it", "retry_in", time.Second)
	log.Error("given up", "error", errors.New("no"))
	want := []string{`warning 10 msg="cannot read it" secret=kv/app g.retry_in=1s`, `error 11 msg="given up" error=no`}
	if strings.Join(events.list, "\n") != strings.Join(want, "\n") || strings.Count(file.String(), "\n") != 3 {
		t.Errorf("events %q, file %s", events.list, file.String())
	}
	log.Warn("long", "text", strings.Repeat("x", 40000))
	if long := events.list[2]; len(long) > 31000 {
		t.Errorf("%d characters: the event log takes 31,839", len(long))
	}
}

// The event log is a service of its own, which may be slow: the manager is answered first.
func TestServiceAnswersBeforeTheEventLogDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes, open := make(chan svc.Status, 1), make(chan struct{})
		s := &service{
			job:    func(*manager, io.Writer, io.Writer) int { return 0 },
			events: func(string) eventLog { <-open; return newEventLog(noEvents{}) },
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Execute([]string{"demo"}, nil, changes)
		}()
		synctest.Wait()
		if len(changes) != 1 {
			t.Error("the manager was not told that the service starts")
		}
		close(open)
		<-done
	})
}

// stuckEvents does not come to an end with what it is told.
type stuckEvents struct {
	noEvents
	on chan struct{}
}

func (s stuckEvents) Info(uint32, string) error {
	<-s.on
	return nil
}

// Nor is a request answered late for it.
func TestServiceStopsWhileTheEventLogIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on, end := make(chan struct{}), make(chan int)
		requests, changes := make(chan svc.ChangeRequest), make(chan svc.Status, 10)
		s := &service{
			job: func(m *manager, _, _ io.Writer) int {
				m.tellReady()
				return <-end
			},
			stop:   func() { end <- 0 },
			events: func(string) eventLog { return newEventLog(stuckEvents{on: on}) },
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Execute([]string{"demo"}, requests, changes)
		}()
		synctest.Wait()
		select {
		case requests <- svc.ChangeRequest{Cmd: svc.Stop}:
		case <-time.After(time.Minute):
			t.Error("a request to stop is not taken")
		}
		close(on)
		<-done
	})
}

// fakeControlled is a service as its manager shows it.
type fakeControlled struct {
	status  svc.Status
	refusal error // to a request to stop
	actions []mgr.RecoveryAction
	log     []string
	next    func() // after a request was answered
}

func (f *fakeControlled) Control(c svc.Cmd) (svc.Status, error) {
	f.log = append(f.log, "stop")
	refusal := f.refusal
	if refusal == nil {
		f.status.State = svc.StopPending
	}
	if f.next != nil {
		f.next()
	}
	return f.status, refusal
}

func (f *fakeControlled) Query() (svc.Status, error) { return f.status, nil }

func (f *fakeControlled) RecoveryActions() ([]mgr.RecoveryAction, error) { return f.actions, nil }

func (f *fakeControlled) ResetPeriod() (uint32, error) { return 9, nil }

func (f *fakeControlled) SetRecoveryActions(actions []mgr.RecoveryAction, period uint32) error {
	f.log, f.actions = append(f.log, fmt.Sprintf("recover %d in %d", len(actions), period)), actions
	return nil
}

func (f *fakeControlled) ResetRecoveryActions() error {
	f.log, f.actions = append(f.log, "recover never"), nil
	return nil
}

func TestServiceHalt(t *testing.T) {
	restart := []mgr.RecoveryAction{{Type: mgr.ServiceRestart}}
	starting := svc.Status{State: svc.StartPending, ProcessId: 7}
	for _, tc := range []struct {
		name string
		at   fakeControlled
		end  func(f *fakeControlled, still func() bool)
		want string
	}{
		{name: "starting", at: fakeControlled{status: starting, refusal: windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL, actions: restart},
			end:  func(f *fakeControlled, _ func() bool) { f.status = svc.Status{State: svc.Stopped} },
			want: "stop, recover never, end 7 true, recover 1 in 9"},
		{name: "starting, made by hand", at: fakeControlled{status: starting, refusal: windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL},
			end:  func(f *fakeControlled, _ func() bool) { f.status = svc.Status{State: svc.Stopped} },
			want: "stop, end 7 true"},
		{name: "running when its end comes", at: fakeControlled{status: starting, refusal: windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL},
			end: func(f *fakeControlled, _ func() bool) {
				f.status.State, f.refusal = svc.Running, nil
				f.next = func() { f.status.State = svc.Stopped }
			},
			want: "stop, end 7 true, stop"},
		{name: "stopped", at: fakeControlled{refusal: windows.ERROR_SERVICE_NOT_ACTIVE, status: svc.Status{State: svc.Stopped}}, want: "stop"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := tc.at
			now, err := halt(&f, func(process uint32, still func() bool) error {
				f.log = append(f.log, fmt.Sprintf("end %d %v", process, still()))
				tc.end(&f, still)
				return nil
			})
			if got := strings.Join(f.log, ", "); err != nil || now.State != svc.Stopped || got != tc.want {
				t.Errorf("%s: %q, %+v, %v; want %q", tc.name, got, now, err, tc.want)
			}
		})
	}
	// One that was starting when it was asked, and runs when it is looked at, is asked again.
	synctest.Test(t, func(t *testing.T) {
		f := fakeControlled{status: svc.Status{State: svc.Running}, refusal: windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL}
		f.next = func() {
			f.refusal = nil
			if len(f.log) == 2 {
				f.status.State = svc.Stopped
			}
		}
		if now, err := halt(&f, nil); err != nil || now.State != svc.Stopped || len(f.log) != 2 {
			t.Errorf("%+v, %v, %q", now, err, f.log)
		}
	})
}

// Its number may be another process's by the time it is ended.
func TestServiceEndsOnlyTheProcessMeant(t *testing.T) {
	if err := endProcess(windows.GetCurrentProcessId(), func() bool { return false }); err != nil {
		t.Error(err) // and we live
	}
}

func TestServiceArgumentsAreNotExpanded(t *testing.T) {
	for arg, fine := range map[string]bool{"100%": true, "a%20b%20c": true, "%SystemRoot%": false, `x %systemroot%\y`: false} {
		if err := unexpanded([]string{`C:\my app\envexec.exe`, arg}); (err == nil) != fine {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
