package environ

import "syscall"

// limits: execve refuses a string of more than 32 pages, and all of them above a quarter
// of the stack limit, which itself counts for at most 24 MiB.
func limits() limit {
	const floor, ceiling = 128 << 10, 6 << 20
	total := ceiling
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_STACK, &r); err == nil && r.Cur/4 < ceiling {
		total = max(int(r.Cur/4), floor)
	}
	return limit{each: 32 * 4096, total: total, pointer: 8}
}
