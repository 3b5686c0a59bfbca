package systemd

import "strings"

// Message is one datagram of sd_notify: assignments, and descriptors that came along.
type Message struct {
	Lines []string // NAME=value, as sent
	FDs   []int    // the receiver closes them
	PID   int      // of the sender, from the kernel; 0 = not known
	UID   int
}

// Get returns the value of the last assignment of name.
func (m Message) Get(name string) (string, bool) {
	for i := len(m.Lines) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(m.Lines[i], "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// Is reports whether name is assigned "1".
func (m Message) Is(name string) bool {
	v, ok := m.Get(name)
	return ok && v == "1"
}

// passed are the assignments a proxy hands on as they are.
var passed = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"WATCHDOG": true, "WATCHDOG_USEC": true, "EXTEND_TIMEOUT_USEC": true, "ERRNO": true, "BUSERROR": true,
	"EXIT_STATUS": true, "FDSTORE": true, "FDSTOREREMOVE": true, "FDNAME": true, "FDPOLL": true,
}

// Forward returns what a proxy hands on of m. READY, RELOADING and its stamp,
// STOPPING and BARRIER are the proxy's own business: it decides what they mean
// for the service as a whole. MAINPID and NOTIFYACCESS would take the service
// away from the proxy. prefix goes before the text of STATUS.
func (m Message) Forward(prefix string) []string {
	var out []string
	for _, line := range m.Lines {
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok:
		case name == "STATUS":
			out = append(out, "STATUS="+prefix+value)
		case passed[name], strings.HasPrefix(name, "X_"):
			out = append(out, line)
		}
	}
	return out
}
