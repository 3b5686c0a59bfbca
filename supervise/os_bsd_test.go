//go:build unix && !linux

package supervise

import "golang.org/x/sys/unix"

const (
	hasNotify     = false
	hasMainThread = false
)

func isAlive(pid int) bool { return unix.Kill(pid, 0) == nil }
