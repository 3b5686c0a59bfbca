//go:build unix

package supervise

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func TestRealStatuses(t *testing.T) {
	for _, code := range []int{0, 1, 2, 125, 126, 127, 128, 255} {
		begin(t, nil).does("exit " + strconv.Itoa(code)).ends(Status{Code: code})
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGPIPE} {
		begin(t, nil).does("die " + strconv.Itoa(int(sig))).ends(Status{Signal: sig})
	}
}

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/nonexistent/interpreter\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("good", 0o700)
	write("data", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		code       int // 0 = found
	}{
		{"good", dir, 0},
		{"good", "/nonexistent:" + dir, 0},
		{"good", "relative:.", 0}, // from dir
		{"./good", "", 0},
		{filepath.Join(dir, "good"), "", 0},
		{"data", dir, 126},
		{"./data", "", 126},
		{"folder", dir, 126},
		{"./folder", "", 126},
		{"missing", dir, 127},
		{"missing", "", 127},
		{"./missing", dir, 127},
		{"good/missing", dir, 127},
	} {
		got, err := findProgram(c.name, c.path, dir)
		var se *StartError
		switch {
		case c.code == 0 && got != filepath.Join(dir, "good"):
			t.Errorf("findProgram(%q, %q) = %q, %v", c.name, c.path, got, err)
		case c.code != 0 && (!errors.As(err, &se) || se.Code != c.code):
			t.Errorf("findProgram(%q, %q) = %q, %v; want code %d", c.name, c.path, got, err, c.code)
		}
	}
}

// TestExecFailures: what only the kernel can tell, with and without the stage.
func TestExecFailures(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		code int
	}{
		"interpreter": {"#!/nonexistent/interpreter\n", 127},
		"format":      {"\x00\x01\x02\x03", 126},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		for _, sockets := range [][]Socket{nil, {{Name: "web", Network: "tcp", Address: "127.0.0.1:0"}}} {
			tr := begin(t, func(cfg *Config) { cfg.Command, cfg.Sockets = []string{path}, sockets })
			tr.does("nothing")
			got := <-tr.result
			var se *StartError
			if !errors.As(got.err, &se) || se.Code != c.code {
				t.Errorf("%s with %d sockets: %v, want code %d", name, len(sockets), got.err, c.code)
			}
		}
	}
}

func TestTooBigEnvironment(t *testing.T) {
	tr := begin(t, nil).does("exit 0", "SECRET="+strings.Repeat("hunter2", 1<<18))
	got := <-tr.result
	var se *StartError
	if !errors.As(got.err, &se) || se.Code != 126 || strings.Contains(got.err.Error(), "hunter2") {
		t.Errorf("Run returns %.200v", got.err)
	}
}

func TestLeftoversAreEnded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for name, script := range map[string]string{
		"polite":   `sleep 1000 & echo $! >` + file + `; exit 4`,
		"stubborn": `(trap "" TERM; echo $(exec sh -c 'echo $PPID') >` + file + `; while :; do sleep 1; done) & sleep 0.3; exit 4`,
	} {
		t.Run(name, func(t *testing.T) {
			tr := begin(t, func(c *Config) { c.Command, c.Grace = []string{"/bin/sh", "-c", script}, 200*time.Millisecond })
			tr.does("", "PATH=/usr/bin:/bin").ends(Status{Code: 4})
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if isAlive(pid) {
				t.Errorf("process %d is still there", pid)
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
	}
}

func TestRunCommand(t *testing.T) {
	ctx := t.Context()
	if err := RunCommand(ctx, Command{Args: []string{"true"}, Path: "/usr/bin:/bin"}); err != nil {
		t.Error(err)
	}
	var ce *CommandError
	if err := RunCommand(ctx, Command{Args: []string{"/bin/sh", "-c", `exit "$N"`}, Env: []string{"N=3"}}); !errors.As(err, &ce) || ce.Status.Code != 3 {
		t.Errorf("got %v", err)
	}
	var se *StartError
	if err := RunCommand(ctx, Command{Args: []string{"missing"}, Path: "/bin"}); !errors.As(err, &se) || se.Code != 127 {
		t.Errorf("got %v", err)
	}
	if err := RunCommand(ctx, Command{}); !errors.As(err, &se) {
		t.Errorf("got %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := RunCommand(short, Command{Args: []string{"/bin/sh", "-c", "sleep 1000; true"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestLookupUser(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Skip("no user database")
	}
	for text, ok := range map[string]bool{
		me.Username: true, me.Uid: true, me.Uid + ":" + me.Gid: true, "4000000": true, "4000000:7": true,
		"": false, ":0": false, "0:": false, "no-such-user": false, "0:no-such-group": false, "-1": false, "99999999999": false,
	} {
		u, err := LookupUser(text)
		if (err == nil) != ok {
			t.Errorf("LookupUser(%q) = %+v, %v", text, u, err)
		}
	}
	u, err := LookupUser("4000000")
	if err != nil || u.UID != 4000000 || u.GID != 4000000 || !slices.Equal(u.Groups, []uint32{4000000}) || u.Name != "" {
		t.Errorf("a number without an entry: %+v, %v", u, err)
	}
	if u, err = LookupUser("4000000:7"); err != nil || u.GID != 7 || !slices.Equal(u.Groups, []uint32{7}) {
		t.Errorf("a number with a group: %+v, %v", u, err)
	}
}

func TestProgramRunsAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	script := `test "$(id -u):$(id -g):$(id -G)" = 4000000:4000001:4000001`
	tr := begin(t, func(c *Config) {
		c.Command, c.Dir = []string{"/bin/sh", "-c", script}, "/"
		c.User = &User{UID: 4000000, GID: 4000001, Groups: []uint32{4000001}}
	})
	tr.does("", "PATH=/usr/bin:/bin").ends(Status{})
}

func TestForkOnTheMainThreadPanics(t *testing.T) {
	if !hasMainThread {
		t.Skip("children belong to processes here")
	}
	begin(t, nil).does("mainthread").ends(Status{})
}

func TestRestartsLeakNothing(t *testing.T) {
	tr := begin(t, nil)
	tr.does("ready never").reaches("ready")
	before := -1
	for i := range 12 {
		if i == 2 {
			before = openFiles(t)
		}
		tr.does("ready never").reaches("replacing").reaches("ready")
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files before, %d after ten restarts", before, after)
	}
	tr.stops()
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip("no /dev/fd")
	}
	return len(entries)
}
