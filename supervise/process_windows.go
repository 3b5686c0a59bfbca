package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// windowsHost starts every program in a job object of its own: ending the job ends
// whatever the program has started.
type windowsHost struct{ console consoleAPI }

func newHost() host {
	containSelf()
	ownConsole()
	return windowsHost{systemConsole()}
}

func adoptOrphans(bool, *slog.Logger) {}

func (windowsHost) close() {}

func (h windowsHost) start(s spec) (process, error) {
	notRunnable := func(err error) error { return &StartError{Program: s.argv[0], Code: 126, Err: err} }
	if s.user != nil {
		return nil, notRunnable(errors.New("running as another user is not possible on Windows"))
	}
	application, line, err := commandLine(s.path, s.argv)
	if err != nil {
		return nil, notRunnable(err)
	}
	files, done, err := standardHandles(s.files)
	if err != nil {
		return nil, notRunnable(err)
	}
	defer done()
	job, err := newJob()
	if err != nil {
		return nil, notRunnable(err)
	}
	// Suspended until it is in its job, so that nothing it starts is outside.
	flags := uint32(windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_SUSPENDED)
	if !h.console.present() {
		flags |= windows.CREATE_NO_WINDOW // a console of its own, which Ctrl-Break needs
	}
	pid, handle, err := syscall.StartProcess(application, nil, &syscall.ProcAttr{
		Dir: s.dir, Env: environment(s.env), Files: files,
		Sys: &syscall.SysProcAttr{CmdLine: line, CreationFlags: flags},
	})
	if err != nil {
		_ = windows.CloseHandle(job)
		return nil, startError(s.argv[0], err)
	}
	p := &windowsProcess{id: pid, handle: windows.Handle(handle), job: job, console: h.console}
	err = windows.AssignProcessToJobObject(job, p.handle)
	if err == nil {
		err = resumeThreads(uint32(pid))
	}
	if err != nil {
		_ = windows.TerminateProcess(p.handle, killedCode)
		p.reap()
		return nil, notRunnable(err)
	}
	return p, nil
}

// standardHandles replaces what is no open handle by NUL: a service has none.
func standardHandles(given []uintptr) (files []uintptr, done func(), err error) {
	var null *os.File
	done = func() {
		if null != nil {
			_ = null.Close()
		}
	}
	for _, fd := range given {
		if open(windows.Handle(fd)) {
			files = append(files, fd)
			continue
		}
		if null == nil {
			if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, done, err
			}
		}
		files = append(files, null.Fd())
	}
	return files, done, nil
}

func open(h windows.Handle) bool {
	if h == 0 || h == windows.InvalidHandle {
		return false
	}
	kind, err := windows.GetFileType(h)
	return err == nil && kind != windows.FILE_TYPE_UNKNOWN
}

// environment is env as CreateProcess wants it: sorted by name without regard to case,
// and never without SYSTEMROOT, by which programs find the system's libraries.
func environment(env []string) []string {
	const root = "SYSTEMROOT"
	env = slices.Clone(env)
	if !slices.ContainsFunc(env, func(v string) bool { return upperName(v) == root }) {
		if dir, err := windows.GetSystemWindowsDirectory(); err == nil {
			env = append(env, root+"="+dir)
		}
	}
	slices.SortStableFunc(env, func(a, b string) int { return strings.Compare(upperName(a), upperName(b)) })
	return env
}

// upperName is the name of a variable; it may begin with an equals sign (=C:).
func upperName(pair string) string {
	end := strings.IndexByte(pair[min(1, len(pair)):], '=') + 1
	return strings.ToUpper(pair[:end])
}

type windowsProcess struct {
	id      int
	handle  windows.Handle
	job     windows.Handle
	console consoleAPI
	once    sync.Once
}

func (p *windowsProcess) pid() int { return p.id }

func (p *windowsProcess) wait(func(syscall.Signal)) Status {
	var code uint32
	if _, err := windows.WaitForSingleObject(p.handle, windows.INFINITE); err != nil {
		return Status{Code: 125}
	}
	if err := windows.GetExitCodeProcess(p.handle, &code); err != nil {
		return Status{Code: 125}
	}
	return Status{Code: int(code)}
}

// signal knows two ways: KILL ends the job, everything else is Ctrl-Break to the
// program's group; Ctrl-C cannot be sent to one group alone.
func (p *windowsProcess) signal(sig syscall.Signal, _ bool) error {
	if sig == syscall.SIGKILL {
		return p.kill(false)
	}
	return p.console.interrupt(uint32(p.id))
}

// stop ends the job at once where Ctrl-Break cannot be sent: waiting would be in vain.
func (p *windowsProcess) stop(sig syscall.Signal, group bool) error {
	if err := p.signal(sig, group); err != nil {
		return errors.Join(err, p.kill(false))
	}
	return nil
}

func (p *windowsProcess) kill(bool) error { return windows.TerminateJobObject(p.job, killedCode) }

// clean gives what the program has left in its job the chance to end by itself.
func (p *windowsProcess) clean(ctx context.Context, grace time.Duration, _ bool) {
	const look = 50 * time.Millisecond
	if grace > 0 && alive(p.job) > 0 && p.console.interrupt(uint32(p.id), p.left()...) == nil {
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		for alive(p.job) > 0 && pause(ctx, look) { //nolint:revive // pause is the body
		}
	}
	_ = p.kill(false)
}

// left lists processes of the job, some of them if they are many.
func (p *windowsProcess) left() []uint32 {
	var list struct {
		assigned, listed uint32
		ids              [64]uintptr
	}
	err := windows.QueryInformationJobObject(p.job, windows.JobObjectBasicProcessIdList,
		uintptr(unsafe.Pointer(&list)), uint32(unsafe.Sizeof(list)), nil)
	if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
		return nil
	}
	var ids []uint32
	for _, id := range list.ids[:min(int(list.listed), len(list.ids))] {
		ids = append(ids, uint32(id))
	}
	return ids
}

// reap closes the job, which ends what is left in it.
func (p *windowsProcess) reap() {
	p.once.Do(func() {
		_ = windows.CloseHandle(p.job)
		_ = windows.CloseHandle(p.handle)
	})
}

const killSignal = syscall.SIGKILL

// isGone: a process that has ended refuses to be signalled or ended.
func isGone(err error) bool { return errors.Is(err, windows.ERROR_INVALID_PARAMETER) }

func workDir(dir string) string { return dir }

// findProgram looks for name in the directories of path, with the endings of
// PATHEXT; never in the present directory, which Windows would search first.
func findProgram(name, path, dir string) (string, error) {
	if filepath.Base(name) != name {
		if dir != "" && !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return lookUp(name, name)
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue
		}
		if found, err := lookUp(name, filepath.Join(d, name)); err == nil {
			return found, nil
		}
	}
	return "", startError(name, exec.ErrNotFound)
}

func lookUp(name, full string) (string, error) {
	found, err := exec.LookPath(full)
	if err == nil || errors.Is(err, exec.ErrDot) {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return "", startError(name, err)
	}
	return found, nil
}

// shortage marks err as transient if it is for want of memory.
func shortage(err error) error {
	if errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY) || errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES) {
		return transientError{err}
	}
	return err
}

func startError(program string, err error) error {
	code := 126
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		code = 127
	}
	return shortage(&StartError{Program: program, Code: code, Err: err})
}

func sameGroup(leader, pid int) bool { return leader == pid }
