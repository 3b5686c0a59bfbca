package supervise

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/windows"
)

// consoleAPI is how Ctrl-Break reaches a program's group. An event only travels
// within one console: the program shares ours, or, where we have none (a service),
// has one of its own, which we then join for a moment.
type consoleAPI struct {
	present  func() bool // we have a console
	attach   func(pid uint32) error
	detach   func()
	changed  func() // has to follow each attach and detach
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
		c.changed()
		if err != nil {
			return err
		}
		defer c.changed()
		defer c.detach()
	}
	return c.generate(windows.CTRL_BREAK_EVENT, pid)
}

var (
	kernel32              = windows.NewLazySystemDLL("kernel32.dll")
	attachConsole         = kernel32.NewProc("AttachConsole")
	freeConsole           = kernel32.NewProc("FreeConsole")
	setConsoleCtrlHandler = kernel32.NewProc("SetConsoleCtrlHandler")
)

// ownConsole is asked once: while interrupt has joined a program's, it would seem ours,
// and what is started in that moment would have none of its own.
var ownConsole = sync.OnceValue(func() bool {
	page, err := windows.GetConsoleCP()
	return err == nil && page != 0
})

// deaf: see IgnoreConsole.
var deaf atomic.Bool

// IgnoreConsole keeps console events away from us for good: services too get those of
// somebody logging off, which would stop them.
func IgnoreConsole() {
	deaf.Store(true)
	stayDeaf()
}

var ignoreEvent = sync.OnceValue(func() uintptr { return windows.NewCallback(func(uint32) uintptr { return 1 }) })

// stayDeaf renews what IgnoreConsole did: with each change of console Windows forgets all handlers.
func stayDeaf() {
	if deaf.Load() {
		_, _, _ = setConsoleCtrlHandler.Call(ignoreEvent(), 1)
	}
}

func systemConsole() consoleAPI {
	return consoleAPI{
		present: ownConsole,
		attach: func(pid uint32) error {
			if ok, _, err := attachConsole.Call(uintptr(pid)); ok == 0 {
				return err
			}
			return nil
		},
		detach:   func() { _, _, _ = freeConsole.Call() },
		changed:  stayDeaf,
		generate: windows.GenerateConsoleCtrlEvent,
	}
}
