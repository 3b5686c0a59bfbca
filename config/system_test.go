package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/environ"
)

// What Windows lacks is refused at load, all at once, with the place and the reason.
func TestWindowsRefusesWhatItLacks(t *testing.T) {
	for _, tc := range []struct{ name, file, args, want string }{
		{"policy", "change {\n  policy = \"overlap\"\n}\nready {\n  type = \"exec\"\n  command = [\"x\"]\n}", "", "F:2:3: change.policy: overlap is not possible on Windows"},
		{"policy flag", "", "--on-change signal:HUP", "--on-change: change.policy: signal is not possible on Windows"},
		{"policy of one variable", "", "--env A=secret/a#b --on-change A=signal:HUP", "--on-change: on_change: signal is not possible"},
		{"policy in a template", "template {\n  contents = \"x\"\n  destination = \"/x\"\n  on_change { policy = \"signal\" }\n}", "", "F:1:1: on_change: signal is not possible"},
		{"restart_stop_signal", "exec {\n  command = [\"x\"]\n  restart_stop_signal = \"SIGHUP\"\n}", "", "F:3:3: stop.signal: Windows has no such signal"},
		{"stop signal", "", "--stop-signal USR1", "--stop-signal:"},
		{"refresh signal", "", "--refresh-signal HUP", "--refresh-signal: secrets.refresh_signal: nobody can send a signal"},
		{"signal map", "", "--signal-map TERM=QUIT", "--signal-map: program.signal_map: TERM=QUIT: Windows has no such signal"},
		{"user", "", "--user app", "--user: program.user: a program cannot be run as another user"},
		{"exec", "", "--exec", "--exec: program.exec: a process cannot become another"},
		{"socket", "", "--listen web=tcp://127.0.0.1:0", "--listen: listen: a socket cannot be handed"},
		{"ready", "", "--ready notify", "--ready: ready: notify is not possible"},
		{"ready fd", "", "--ready fd:3", "--ready: ready: fd is not possible"},
		{"orphans", "", "--leave-orphans", "--leave-orphans: stop.leave_orphans: on Windows nothing"},
		{"owner", "template {\n  contents = \"x\"\n  destination = \"/x\"\n  user = \"app\"\n}", "", "F:1:1: template: Windows knows no owner"},
		{"owner of a sink", "auto_auth {\n  method \"token_file\" {\n    config = { token_file_path = \"t\" }\n  }\n  sink \"file\" {\n    config = { path = \"x\", owner = 0 }\n  }\n}", "", "F:5:3: sink: Windows knows no owner"},
		{"device", "template {\n  contents = \"x\"\n  destination = \"d/nul.txt\"\n}", "", "F:1:1: template: d/nul.txt: nul.txt is a device on Windows"},
		{"statuses", "", "--restart on-failure --restart-prevent HUP", "--restart-prevent: restart: HUP: no program dies of a signal"},
		{"memfd", "", "--env A=secret/a#b --as-file A=memfd", "--as-file: delivery: memfd is not possible"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := strings.Fields(tc.args)
			file := filepath.Join(t.TempDir(), "f.hcl")
			if tc.file != "" {
				if err := os.WriteFile(file, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", file)
			}
			args = append(args, "--", "app")
			_, err := parseFor("", args, environ.Environ{}, true)
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), file, "F"), tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestWindowsTakesWhatItHas(t *testing.T) {
	for _, args := range []string{
		"-- app",
		"--stop-signal TERM -- app",
		"--stop-signal SIGINT -- app",
		"--stop-signal KILL -- app",
		"--signal-map INT=TERM,TERM=0 -- app",
		"--env A=secret/a#b --on-change hook:reload.exe -- app",
		"--restart on-failure --restart-prevent 3,4 -- app",
		"--ready tcp:127.0.0.1:80 -- app",
	} {
		if _, err := parseFor("", strings.Fields(args), environ.Environ{}, true); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// There every stop has its deadline, also one that was asked for from outside.
func TestWindowsStopsHaveADeadline(t *testing.T) {
	for args, want := range map[string]time.Duration{"-- app": 30 * time.Second, "--stop-timeout 5s -- app": 5 * time.Second, "--stop-timeout 0 -- app": 0} {
		c, err := parseFor("", strings.Fields(args), environ.Environ{}, true)
		if err != nil || c.Stop.TermTimeout != want {
			t.Errorf("%s: %v, %v", args, c.Stop.TermTimeout, err)
		}
	}
}

func TestWindowsNames(t *testing.T) {
	for path, want := range map[string]string{
		`C:\app\secret.txt`: "", `C:/app/.env`: "", `\\server\share\f`: "", `\\?\C:\app\f`: "", "x": "", `..\x`: "", `.\a.b.c`: "", "größe 1.txt": "", "console": "", "com10": "",
		`C:x`: "drive C:", `c:..\x`: "drive c:", `C:\app\CON`: "CON is a device", "nul": "device", "Aux.txt": "device", "COM1": "device", "lpt²": "device", `NUL :x`: "device",
		`a\b\c?d`: "may not contain", "a|b": "may not contain", "a\nb": "may not contain", `\\?\C:\a*`: "may not contain",
		`C:\app\f:stream`: "stream", "a.": "dots and spaces", `dir \x`: "dots and spaces",
	} {
		if why := unusableName(path); want == "" && why != "" || !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", path, why, want)
		}
	}
}
