package supervise

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reraise ends this process by sig, as the program ended: shells stop a script
// only after a death by INT, and systemd counts HUP, INT, TERM and PIPE as
// clean, but not their 128+n. No core is written. It returns, for 128+n, as
// PID 1, which no signal ends, and where sig does not end a process.
func Reraise(sig syscall.Signal) {
	if os.Getpid() == 1 || sig <= 0 {
		return
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	defaultAction(sig) // the Go runtime would print a stack for QUIT, ABRT or SEGV
	if unix.Kill(os.Getpid(), sig) == nil {
		time.Sleep(reraisePatience)
	}
}

// reraisePatience is how long a signal to ourselves may take to arrive.
const reraisePatience = time.Second

// defaultAction takes a signal away from the Go runtime.
func defaultAction(sig syscall.Signal) {
	var dflt [64]byte                                                                                           // an all-zero action is the default one in every architecture's layout
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dflt)), 0, 8, 0, 0) //nolint:gosec // a kernel structure
}
