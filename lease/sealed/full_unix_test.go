//go:build unix

package sealed

import "syscall"

// noSpace is what a full disk is told with.
const noSpace = syscall.ENOSPC
