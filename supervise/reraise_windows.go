package supervise

import "syscall"

// Reraise does nothing: on Windows nothing dies of a signal.
func Reraise(syscall.Signal) {}
