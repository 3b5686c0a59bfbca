package systemd_test

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/systemd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRead(t *testing.T) {
	const pid = 42
	for name, c := range map[string]struct {
		env  map[string]string
		want systemd.Environment
	}{
		"nothing": {},
		"notify and watchdog": {
			map[string]string{"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"},
			systemd.Environment{NotifySocket: "@x", Watchdog: 3 * time.Second},
		},
		"watchdog for whoever reads it": {map[string]string{"WATCHDOG_USEC": "1000"}, systemd.Environment{Watchdog: time.Millisecond}},
		"watchdog of another":           {env: map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "7"}},
		"watchdog nonsense":             {env: map[string]string{"WATCHDOG_USEC": "-5"}},
		"sockets": {
			map[string]string{"LISTEN_FDS": "3", "LISTEN_PID": "42", "LISTEN_FDNAMES": "web::more:stray"},
			systemd.Environment{Sockets: []systemd.Socket{{FD: 3, Name: "web"}, {FD: 4, Name: "unknown"}, {FD: 5, Name: "more"}}},
		},
		"sockets of another":   {env: map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "180"}},
		"sockets without pid":  {env: map[string]string{"LISTEN_FDS": "2"}},
		"too many sockets":     {env: map[string]string{"LISTEN_FDS": "100000", "LISTEN_PID": "42"}},
		"a negative number":    {env: map[string]string{"LISTEN_FDS": "-1", "LISTEN_PID": "42"}},
		"a number with a sign": {env: map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "+42"}},
	} {
		got := systemd.Read(func(k string) string { return c.env[k] }, pid)
		if got.NotifySocket != c.want.NotifySocket || got.Watchdog != c.want.Watchdog || !slices.Equal(got.Sockets, c.want.Sockets) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestForward is the table of what a proxy hands on.
func TestForward(t *testing.T) {
	for line, want := range map[string]string{
		"STATUS=warming": "STATUS=app: warming", "WATCHDOG=1": "WATCHDOG=1", "WATCHDOG=trigger": "WATCHDOG=trigger",
		"EXTEND_TIMEOUT_USEC=5": "EXTEND_TIMEOUT_USEC=5", "ERRNO=2": "ERRNO=2", "EXIT_STATUS=3": "EXIT_STATUS=3",
		"FDSTORE=1": "FDSTORE=1", "FDSTOREREMOVE=1": "FDSTOREREMOVE=1", "FDNAME=x": "FDNAME=x", "X_APP=y": "X_APP=y",
		"READY=1": "", "RELOADING=1": "", "MONOTONIC_USEC=1": "", "STOPPING=1": "", "MAINPID=1": "", "MAINPIDFD=1": "",
		"MAINPIDFDID=1": "", "NOTIFYACCESS=all": "", "BARRIER=1": "", "nonsense": "", "UNKNOWN=1": "",
	} {
		got := systemd.Message{Lines: []string{line}}.Forward("app: ")
		if want == "" && len(got) != 0 || want != "" && !slices.Equal(got, []string{want}) {
			t.Errorf("%q is handed on as %q, want %q", line, got, want)
		}
	}
}

func TestMessageGet(t *testing.T) {
	m := systemd.Message{Lines: []string{"A=1", "B=x=y", "A=2", "C"}}
	for name, want := range map[string]string{"A": "2", "B": "x=y"} {
		if got, ok := m.Get(name); !ok || got != want {
			t.Errorf("Get(%s) = %q, %v", name, got, ok)
		}
	}
	if _, ok := m.Get("C"); ok {
		t.Error("a line without = is an assignment")
	}
	if m.Is("A") || !(systemd.Message{Lines: []string{"READY=1"}}).Is("READY") {
		t.Error("Is is wrong")
	}
}
