package supervise

import (
	"sync"

	"golang.org/x/sys/windows"
)

// consoleAPI is how Ctrl-Break reaches a program's group. An event only travels
// within one console: the program shares ours, or, where we have none (a service),
// has one of its own, which we then join for a moment.
type consoleAPI struct {
	present  func() bool // we have a console
	attach   func(pid uint32) error
	detach   func()
	generate func(event, group uint32) error
}

// attached: a process has at most one console.
var attached sync.Mutex

// interrupt sends Ctrl-Break to the group that process pid leads, or has led: of a
// leader that is gone, others still know the console.
func (c consoleAPI) interrupt(pid uint32, others ...uint32) error {
	attached.Lock()
	defer attached.Unlock()
	if !c.present() {
		err := c.attach(pid)
		for i := 0; err != nil && i < len(others); i++ {
			err = c.attach(others[i])
		}
		if err != nil {
			return err
		}
		defer c.detach()
	}
	return c.generate(windows.CTRL_BREAK_EVENT, pid)
}

var (
	kernel32      = windows.NewLazySystemDLL("kernel32.dll")
	attachConsole = kernel32.NewProc("AttachConsole")
	freeConsole   = kernel32.NewProc("FreeConsole")
)

func systemConsole() consoleAPI {
	return consoleAPI{
		present: func() bool {
			page, err := windows.GetConsoleCP()
			return err == nil && page != 0
		},
		attach: func(pid uint32) error {
			if ok, _, err := attachConsole.Call(uintptr(pid)); ok == 0 {
				return err
			}
			return nil
		},
		detach:   func() { _, _, _ = freeConsole.Call() },
		generate: windows.GenerateConsoleCtrlEvent,
	}
}
