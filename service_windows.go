package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"

	"github.com/envexec/envexec/internal/early"
	"github.com/envexec/envexec/supervise"
)

// underManager runs job, as a service if the service manager has started us: also for
// an entry that was made by hand (sc.exe create), so there is no flag for it.
func underManager(job func(m *manager, stdout, stderr io.Writer) int) int {
	if !startedByServices() {
		return job(nil, os.Stdout, os.Stderr)
	}
	s := &service{job: job, stop: stopInOrder, events: openEvents}
	switch err := svc.Run("", s); {
	case errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT): // another services.exe
		return job(nil, os.Stdout, os.Stderr)
	case err != nil:
		return statusOwn
	}
	return s.status
}

// startedByServices: the service manager's program is our parent.
func startedByServices() bool {
	snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(snap) }()
	names, parent := map[uint32]string{}, uint32(0)
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snap, &entry); err == nil; err = windows.Process32Next(snap, &entry) {
		names[entry.ProcessID] = windows.UTF16ToString(entry.ExeFile[:])
		if entry.ProcessID == windows.GetCurrentProcessId() {
			parent = entry.ParentProcessID
		}
	}
	return strings.EqualFold(names[parent], "services.exe")
}

// service is envexec under the service manager.
type service struct {
	job    func(m *manager, stdout, stderr io.Writer) int
	stop   func()
	events func(name string) eventLog
	status int // of job, once Execute has returned
}

// The service manager gives up on a service that says nothing for the time of its last hint.
const (
	serviceBeat = 2 * time.Second
	serviceHint = 15 * time.Second
)

const accepted = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown

// Execute is the service's life as the manager sees it: start pending until the program
// is ready, stop pending until it has ended. Implements svc.Handler.
func (s *service) Execute(args []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (specific bool, code uint32) {
	name := "envexec"
	if len(args) > 0 && args[0] != "" {
		name = args[0]
	}
	state := pending(svc.StartPending)
	changes <- state // before anything that another service may hold up, as the event log's does
	events := s.events(name)
	defer events.close()

	ready, result := make(chan struct{}, 1), make(chan int, 1)
	var failure error // read after result
	m := &manager{
		ready: func() {
			select {
			case ready <- struct{}{}:
			default:
			}
		},
		failed: func(err error) { failure = err },
		events: events,
	}
	go func() { result <- s.run(m) }()

	beat := time.NewTicker(serviceBeat)
	defer beat.Stop()
	stopping := false
	var telling sync.WaitGroup
	for {
		select {
		case <-ready:
			if state.State == svc.StartPending {
				state = svc.Status{State: svc.Running, Accepts: accepted}
				changes <- state
				telling.Go(func() { events.info(eventRunning, "running: the program is ready") }) // it may take its time
			}
		case <-beat.C:
			if state.State != svc.Running {
				state.CheckPoint++
				changes <- state
			}
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				changes <- state
			case svc.Stop, svc.Shutdown, svc.PreShutdown:
				if !stopping {
					stopping = true
					state = pending(svc.StopPending)
					changes <- state
					s.stop()
				}
			}
		case s.status = <-result:
			telling.Wait()
			return true, events.ended(s.status, failure, stopping)
		}
	}
}

func pending(s svc.State) svc.Status {
	return svc.Status{State: s, CheckPoint: 1, WaitHint: uint32(serviceHint.Milliseconds())}
}

// run stands where the binary is: the manager starts services in system32, which no
// relative path means.
func (s *service) run(m *manager) int {
	self, err := os.Executable()
	if err == nil {
		err = os.Chdir(filepath.Dir(self))
	}
	if err != nil {
		err = fmt.Errorf("change to the directory of the binary: %w", err)
		m.tellFailed(err)
		return statusOwn
	}
	supervise.IgnoreConsole()
	return s.job(m, io.Discard, io.Discard)
}

// stopInOrder does what a TERM does elsewhere.
func stopInOrder() { early.Raise(syscall.SIGTERM) }

// The service-specific exit codes are the program's own, and for what envexec itself
// ends with, one that no program has: an error with the customer bit set, of the form of
// NTSTATUS, whose low byte is envexec's exit status.
const ownFailure uint32 = 0xE0EE0000

// controlExit is what a program ends with that leaves Ctrl-Break to the system.
const controlExit uint32 = 0xC000013A

// serviceCode is what the manager is told. That a stop it asked for ended the program,
// in the end by force (that is a warning in the log), is no failure.
func serviceCode(status int, failure error, stopped bool) uint32 {
	switch code := uint32(status); {
	case failure != nil:
		return ownFailure | code&0xff
	case stopped && (code == controlExit || code == 128+uint32(syscall.SIGTERM) || code == 128+uint32(syscall.SIGKILL)):
		return 0
	default:
		return code
	}
}
