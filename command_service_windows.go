package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// statusNotRunning is what envexec service status ends with when the service does not run.
const statusNotRunning = 3

// runService carries out envexec service VERB.
func runService(o config.ServiceOptions, inherited []string, stdout io.Writer) (int, error) {
	m, err := mgr.Connect()
	if err != nil {
		return 0, managerError("reach the service manager", err)
	}
	defer func() { _ = m.Disconnect() }()
	if o.Verb == "install" {
		return 0, installService(m, o, inherited, stdout)
	}
	s, err := m.OpenService(o.Name)
	if err != nil {
		return 0, managerError("open service "+o.Name, err)
	}
	defer func() { _ = s.Close() }()
	switch o.Verb {
	case "start":
		return 0, startService(s, stdout)
	case "stop":
		return 0, stopService(s, stdout)
	case "uninstall":
		return 0, uninstallService(s, stdout)
	default:
		return serviceStatus(s, stdout)
	}
}

func managerError(what string, err error) error {
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return fmt.Errorf("%s: %w: run this as administrator", what, err)
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		return misconfigured{fmt.Errorf("%s: there is none: envexec service install makes it", what)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func installService(m *mgr.Mgr, o config.ServiceOptions, inherited []string, stdout io.Writer) error {
	cfg, err := config.Parse(o.Args, environ.From(inherited)) // what is wrong is told now, not in the night
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unexpanded(append([]string{self}, o.Args...)); err != nil {
		return err
	}
	account := o.Account
	if account == "" {
		account = `NT SERVICE\` + o.Name
	}
	s, err := m.CreateService(o.Name, self, mgr.Config{
		StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
		DisplayName: o.Name, Description: serviceDescription(cfg), ServiceStartName: account,
	}, o.Args...)
	if errors.Is(err, windows.ERROR_SERVICE_EXISTS) {
		return misconfigured{fmt.Errorf("service %s is installed already: envexec service uninstall --name %s", o.Name, o.Name)}
	}
	if err != nil {
		return managerError("install service "+o.Name, err)
	}
	defer func() { _ = s.Close() }()
	if err := furnishService(s, cfg); err != nil {
		return errors.Join(managerError("install service "+o.Name, err), s.Delete())
	}
	// A source that is there already is as good.
	if err := eventlog.InstallAsEventCreate(o.Name, eventlog.Error|eventlog.Warning|eventlog.Info); err != nil && !strings.Contains(err.Error(), "already exists") {
		fmt.Fprintf(stdout, "events will have no description: %v\n", err)
	}
	fmt.Fprintf(stdout, "installed %s as %s: %s\n", o.Name, account, windows.ComposeCommandLine(append([]string{self}, o.Args...)))
	return nil
}

// unexpanded refuses what the manager would put variables into: it expands the line it
// keeps (REG_EXPAND_SZ), and has no way to write a percent sign.
func unexpanded(args []string) error {
	line := windows.ComposeCommandLine(args)
	switch text, err := registry.ExpandString(line); {
	case err != nil:
		return fmt.Errorf("expand %s: %w", line, err)
	case text != line:
		return misconfigured{fmt.Errorf("the service manager would make %s of %s: write the values themselves instead of %%NAME%%, or put the argument into a file", text, line)}
	}
	return nil
}

func serviceDescription(cfg *config.Config) string {
	if len(cfg.Program.Args) == 0 {
		return "Secrets from Vault (envexec)"
	}
	return fmt.Sprintf("%s with secrets from Vault (envexec)", cfg.Program.Args[0])
}

// furnishService sets what CreateService cannot. Only when envexec itself dies does the
// manager start it anew: it does not know which failures cannot heal, and a denied
// login that is repeated locks its role out. Starting the program anew is --restart's.
func furnishService(s *mgr.Service, cfg *config.Config) error {
	again := func(d time.Duration) mgr.RecoveryAction {
		return mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: d}
	}
	const day = 24 * 60 * 60
	if err := s.SetRecoveryActions([]mgr.RecoveryAction{again(5 * time.Second), again(30 * time.Second), again(time.Minute)}, day); err != nil {
		return err
	}
	// SERVICE_PRESHUTDOWN_INFO: what the program may take, and we after it.
	info := struct{ milliseconds uint32 }{uint32((cfg.Stop.Timeout + cfg.Stop.Grace + revokePatience + serviceHint).Milliseconds())}
	return windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, (*byte)(unsafe.Pointer(&info)))
}

// servicePoll is how often the manager is asked for a change of state; it tells nobody.
const servicePoll = 200 * time.Millisecond

// settle waits until the service has left a pending state.
func settle(s *mgr.Service, state svc.State) (svc.Status, error) {
	for {
		now, err := s.Query()
		if err != nil || now.State != state {
			return now, err
		}
		time.Sleep(servicePoll)
	}
}

func startService(s *mgr.Service, stdout io.Writer) error {
	if err := s.Start(); err != nil {
		return managerError("start service "+s.Name, err)
	}
	now, err := settle(s, svc.StartPending)
	if err != nil {
		return managerError("start service "+s.Name, err)
	}
	if now.State != svc.Running && now.State != svc.StopPending {
		return fmt.Errorf("service %s did not start: %s; see the event log", s.Name, describeEnd(now))
	}
	fmt.Fprintf(stdout, "%s: %s\n", s.Name, describeState(now))
	return nil
}

func stopService(s *mgr.Service, stdout io.Writer) error {
	now, err := halt(s, endProcess)
	if err != nil {
		return managerError("stop service "+s.Name, err)
	}
	fmt.Fprintf(stdout, "%s: %s\n", s.Name, describeState(now))
	return nil
}

// controlled is what halt needs of a *mgr.Service.
type controlled interface {
	Control(svc.Cmd) (svc.Status, error)
	Query() (svc.Status, error)
	RecoveryActions() ([]mgr.RecoveryAction, error)
	ResetPeriod() (uint32, error)
	SetRecoveryActions(actions []mgr.RecoveryAction, resetPeriod uint32) error
	ResetRecoveryActions() error
}

// halt stops the service if it runs, and waits until it has stopped. One that is still
// starting takes no request: its process is ended by end, and with it all it has started.
func halt(s controlled, end func(process uint32, still func() bool) error) (svc.Status, error) {
	for {
		now, err := s.Control(svc.Stop)
		switch {
		case errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE):
			return s.Query()
		case errors.Is(err, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL), errors.Is(err, windows.ERROR_INVALID_SERVICE_CONTROL):
			if now, err = s.Query(); err == nil && now.State == svc.StartPending {
				ended, err := abandon(s, now.ProcessId, end)
				if err != nil || ended {
					return svc.Status{State: svc.Stopped}, err
				}
			}
			// It has come to run meanwhile, and is asked again, or is stopping.
		}
		if err != nil || now.State == svc.Stopped {
			return now, err
		}
		time.Sleep(servicePoll)
	}
}

// abandonPatience is for the manager, which sees the end of a process a little later.
const abandonPatience = 3 * time.Second

// abandon ends a service that is starting, unless it runs by now. To the manager it has
// crashed: as long as that takes it is told not to start such a one anew.
func abandon(s controlled, process uint32, end func(process uint32, still func() bool) error) (ended bool, err error) {
	starting := func() bool {
		now, err := s.Query()
		return err == nil && now.State == svc.StartPending && now.ProcessId == process
	}
	if actions, err := s.RecoveryActions(); err == nil && len(actions) > 0 {
		period, err := s.ResetPeriod()
		if err == nil {
			err = s.ResetRecoveryActions()
		}
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, s.SetRecoveryActions(actions, period)) }()
	}
	if err := end(process, starting); err != nil {
		return false, err
	}
	for limit := time.Now().Add(abandonPatience); starting() && time.Now().Before(limit); {
		time.Sleep(servicePoll)
	}
	now, err := s.Query()
	return now.State == svc.Stopped || now.ProcessId == process && now.State == svc.StartPending, err
}

// endProcess ends a process if it still is the one meant: its number may have gone to another.
func endProcess(id uint32, still func() bool) error {
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE|windows.SYNCHRONIZE, false, id)
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) { // it has ended
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	if !still() {
		return nil
	}
	if err := windows.TerminateProcess(h, statusOwn); err != nil {
		return err
	}
	_, err = windows.WaitForSingleObject(h, windows.INFINITE)
	return err
}

func uninstallService(s *mgr.Service, stdout io.Writer) error {
	if _, err := halt(s, endProcess); err != nil {
		return managerError("stop service "+s.Name, err)
	}
	if err := s.Delete(); err != nil {
		return managerError("uninstall service "+s.Name, err)
	}
	_ = eventlog.Remove(s.Name) // there is none for a service that was not installed by us
	fmt.Fprintf(stdout, "uninstalled %s\n", s.Name)
	return nil
}

func serviceStatus(s *mgr.Service, stdout io.Writer) (int, error) {
	now, err := s.Query()
	if err != nil {
		return 0, managerError("ask for service "+s.Name, err)
	}
	fmt.Fprintf(stdout, "%s: %s\n", s.Name, describeState(now))
	if now.State == svc.Running {
		return 0, nil
	}
	return statusNotRunning, nil
}

func describeState(s svc.Status) string {
	switch s.State {
	case svc.Running:
		return fmt.Sprintf("running, process %d", s.ProcessId)
	case svc.StartPending:
		return fmt.Sprintf("starting, process %d: Vault is waited for, or the program is not ready yet", s.ProcessId)
	case svc.StopPending:
		return fmt.Sprintf("stopping, process %d", s.ProcessId)
	case svc.Stopped:
		return "stopped, " + describeEnd(s)
	}
	return fmt.Sprintf("state %d", s.State)
}

// describeEnd reads the exit codes of a stopped service: see serviceCode.
func describeEnd(s svc.Status) string {
	own := map[uint32]string{
		statusUsage: "wrong usage", statusUnreachable: "Vault is not reachable", statusDenied: "the login was denied",
		statusConfig: "configuration", statusNotRunnable: "the program cannot be run", statusNotFound: "the program was not found",
	}
	code := s.ServiceSpecificExitCode
	switch {
	case s.Win32ExitCode == uint32(windows.ERROR_SERVICE_NEVER_STARTED):
		return "never started"
	case s.Win32ExitCode == 0:
		return "ended in order"
	case s.Win32ExitCode != uint32(windows.ERROR_SERVICE_SPECIFIC_ERROR):
		return fmt.Sprintf("error %d: %v", s.Win32ExitCode, windows.Errno(s.Win32ExitCode))
	case code&^0xff == ownFailure:
		text := own[code&0xff]
		if text == "" {
			text = "its own failure"
		}
		return fmt.Sprintf("envexec ended with status %d: %s", code&0xff, text)
	}
	return fmt.Sprintf("the program ended with exit code %d (0x%X)", code, code)
}
