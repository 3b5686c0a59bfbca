package supervise

import "syscall"

// A Windows console has no foreground group; programs share it.
type console struct{}

func newTerminal() terminal { return console{} }

func (console) owned() bool                     { return false }
func (console) fork(start func())               { start() }
func (console) reclaim()                        {}
func (console) suspend(process, syscall.Signal) {}
func (console) resume(process)                  {}

func jobControlSignals() []syscall.Signal { return nil }

func isJobControl(syscall.Signal) bool { return false }

func isContinue(syscall.Signal) bool { return false }

func (s *Supervisor) jobControl(syscall.Signal) {}

func stdHandle(n int) uintptr {
	return uintptr([...]syscall.Handle{syscall.Stdin, syscall.Stdout, syscall.Stderr}[n])
}
