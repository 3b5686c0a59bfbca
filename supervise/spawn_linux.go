package supervise

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func sysAttr(s spec) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	// A dying PID 1 takes its whole namespace along anyway.
	if s.deathSig && os.Getpid() != 1 {
		attr.Pdeathsig = syscall.SIGTERM
	}
	return attr
}

func refuseMainThread() {
	if unix.Gettid() == unix.Getpid() {
		panic("supervise: fork on the main thread")
	}
}

// adoptOrphans makes us the parent of what our descendants leave behind, or
// lets go of it.
func adoptOrphans(wanted bool, log *slog.Logger) {
	if os.Getpid() == 1 {
		return
	}
	if !wanted {
		log.Warn("not adopting orphans: zombies of the program's children are somebody else's")
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		log.Warn("cannot adopt orphans", "error", err.Error())
	}
}

// orphans lists the live children of the main thread. As it never forks these
// are all adopted. known is false without /proc.
func orphans() (pids []int, known bool) {
	self := os.Getpid()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", self, self))
	if err != nil {
		return nil, false
	}
	for _, field := range bytes.Fields(data) {
		pid, err := strconv.Atoi(string(field))
		if err != nil {
			continue
		}
		if st, ok := readStat(pid); ok && !st.zombie {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// adopting reports whether our descendants' orphans come to us.
func adopting() bool {
	var is int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0) //nolint:gosec // the kernel writes there
	return os.Getpid() == 1 || err == nil && is != 0
}

type procStat struct {
	zombie  bool
	stopped bool
	group   int
}

// isStopped reports whether job control stopped pid; yes if that cannot be told.
func isStopped(pid int) bool {
	st, ok := readStat(pid)
	return !ok || st.stopped
}

// readStat reads /proc/PID/stat. The name in it may hold anything, so what
// follows its last parenthesis counts.
func readStat(pid int) (procStat, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return procStat{}, false
	}
	f := bytes.Fields(data[i+1:])
	if len(f) < 3 {
		return procStat{}, false
	}
	group, err := strconv.Atoi(string(f[2]))
	st := procStat{zombie: f[0][0] == 'Z' || f[0][0] == 'X', stopped: f[0][0] == 'T', group: group}
	return st, err == nil
}

// seesGroups reports whether groupSize can tell.
func seesGroups() bool {
	_, ok := readStat(os.Getpid())
	return ok
}

// groupSize counts the live members of a process group; -1 if that cannot be told.
func groupSize(group int) int {
	dir, err := os.Open("/proc")
	if err != nil {
		return -1
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil || !seesGroups() {
		return -1
	}
	n := 0
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if st, ok := readStat(pid); ok && st.group == group && !st.zombie {
			n++
		}
	}
	return n
}
