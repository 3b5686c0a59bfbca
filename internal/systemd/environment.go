package systemd

import (
	"strconv"
	"strings"
	"time"
)

// firstFD is the first descriptor of socket activation.
const firstFD = 3

// maxFDs bounds LISTEN_FDS: more is a mistake, not a unit.
const maxFDs = 4096

// Environment is what a service manager told us at start.
type Environment struct {
	NotifySocket string        // NOTIFY_SOCKET; "" = nobody listens
	Watchdog     time.Duration // a WATCHDOG=1 is due this often; 0 = no watchdog
	Sockets      []Socket      // passed to us, open
}

// Socket is a descriptor passed at start.
type Socket struct {
	FD   int
	Name string // "unknown" if it has none
}

// Read reads the variables meant for process pid.
func Read(getenv func(string) string, pid int) Environment {
	e := Environment{NotifySocket: getenv("NOTIFY_SOCKET")}
	if forUs(getenv("WATCHDOG_PID"), pid, true) {
		if n, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && n > 0 {
			e.Watchdog = time.Duration(n) * time.Microsecond
		}
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 1 || n > maxFDs || !forUs(getenv("LISTEN_PID"), pid, false) {
		return e
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		e.Sockets = append(e.Sockets, Socket{FD: firstFD + i, Name: name})
	}
	return e
}

// forUs reports whether a pid variable names pid; absent says the answer without one.
func forUs(value string, pid int, absent bool) bool {
	if value == "" {
		return absent
	}
	return value == strconv.Itoa(pid)
}

// Variables lists what a manager sets for the process it started and nobody
// else: a parent has to take them out of its children's environment.
func Variables() []string {
	return []string{
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID",
		"LISTEN_FDNAMES", "FDSTORE", "SYSTEMD_EXEC_PID", "CREDENTIALS_DIRECTORY",
	}
}
