//go:build unix && !linux

package supervise

import (
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"
)

// Without a parent-death signal, a sub-reaper and /proc the program's end is
// seen exactly, its group gets TERM and KILL, and daemons it left are not ours.

func sysAttr(spec) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func refuseMainThread() {}

func adoptOrphans(bool, *slog.Logger) {}

func orphans() (pids []int, known bool) { return nil, false }

func adopting() bool { return false }

func isStopped(int) bool { return true }

func seesGroups() bool { return false }

// groupSize cannot tell a live member from the ended leader.
func groupSize(group int) int {
	if unix.Kill(-group, 0) == unix.ESRCH { //nolint:errorlint // a bare errno
		return 0
	}
	return -1
}
