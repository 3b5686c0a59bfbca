package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// windowsHost starts every program in a job object of its own: closing the job
// ends all that is left in it, also when we are killed ourselves.
type windowsHost struct{}

func newHost() host { return windowsHost{} }

func adoptOrphans(bool, *slog.Logger) {}

func (windowsHost) close() {}

func (windowsHost) start(s spec) (process, error) {
	if s.user != nil {
		return nil, &StartError{Program: s.argv[0], Code: 126, Err: errors.New("running as another user is not possible on Windows")}
	}
	job, err := newJob()
	if err != nil {
		return nil, &StartError{Program: s.argv[0], Code: 126, Err: err}
	}
	files := make([]*os.File, 0, len(s.files))
	for _, fd := range s.files {
		files = append(files, os.NewFile(fd, ""))
	}
	proc, err := os.StartProcess(s.path, s.argv, &os.ProcAttr{
		Dir: s.dir, Env: s.env, Files: files,
		// Suspended until it is in its job, so that nothing escapes it.
		Sys: &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_SUSPENDED},
	})
	if err != nil {
		_ = windows.CloseHandle(job)
		return nil, startError(s.argv[0], err)
	}
	p := &windowsProcess{proc: proc, job: job}
	if err := p.enter(); err != nil {
		_ = proc.Kill()
		_, _ = proc.Wait()
		_ = windows.CloseHandle(job)
		return nil, &StartError{Program: s.argv[0], Code: 126, Err: err}
	}
	return p, nil
}

func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		_ = windows.CloseHandle(job)
		return 0, err
	}
	return job, nil
}

type windowsProcess struct {
	proc *os.Process
	job  windows.Handle
	once sync.Once
}

// enter puts the suspended process into its job and lets it run.
func (p *windowsProcess) enter() error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.pid()))
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	if err := windows.AssignProcessToJobObject(p.job, h); err != nil {
		return err
	}
	return resumeThreads(uint32(p.pid()))
}

// resumeThreads wakes the one thread of a process created suspended.
func resumeThreads(pid uint32) error {
	snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(snap) }()
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snap, &entry); err == nil; err = windows.Thread32Next(snap, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		th, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		_, err = windows.ResumeThread(th)
		_ = windows.CloseHandle(th)
		return err
	}
	return errors.New("the new process has no thread")
}

func (p *windowsProcess) pid() int { return p.proc.Pid }

func (p *windowsProcess) wait(func(syscall.Signal)) Status {
	st, err := p.proc.Wait()
	if err != nil {
		return Status{Code: 125}
	}
	return Status{Code: st.ExitCode()}
}

// signal knows two ways: KILL ends the job, everything else is Ctrl-Break to
// the program's group, as a new group does not receive Ctrl-C.
func (p *windowsProcess) signal(sig syscall.Signal, _ bool) error {
	if sig == syscall.SIGKILL {
		return p.kill(false)
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.pid()))
}

// stop falls back to ending the job: without a console there is no Ctrl-Break.
func (p *windowsProcess) stop(sig syscall.Signal, group bool) error {
	if err := p.signal(sig, group); err != nil {
		return p.kill(false)
	}
	return nil
}

func (p *windowsProcess) kill(bool) error { return windows.TerminateJobObject(p.job, 1) }

func (p *windowsProcess) clean(context.Context, time.Duration, bool) { p.reap() }

// reap closes the job, which ends what is left in it.
func (p *windowsProcess) reap() { p.once.Do(func() { _ = windows.CloseHandle(p.job) }) }

const killSignal = syscall.SIGKILL

func isGone(err error) bool { return errors.Is(err, os.ErrProcessDone) }

func workDir(dir string) string { return dir }

// findProgram looks in the PATH of our own environment, as CreateProcess and PATHEXT want it.
func findProgram(name, _, dir string) (string, error) {
	full := name
	if dir != "" && filepath.Base(name) != name && !filepath.IsAbs(name) {
		full = filepath.Join(dir, name)
	}
	path, err := exec.LookPath(full)
	if err != nil {
		return "", startError(name, err)
	}
	return path, nil
}

func startError(program string, err error) error {
	code := 126
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		code = 127
	}
	se := &StartError{Program: program, Code: code, Err: err}
	if errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY) || errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES) {
		return transientError{se}
	}
	return se
}

func sameGroup(leader, pid int) bool { return leader == pid }
