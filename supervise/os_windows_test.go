package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// childVariable makes the test binary a program to be supervised; its value says what it does.
const childVariable = "SUPERVISE_TEST_CHILD"

// childMain runs the program's part, if this process is one.
func childMain() bool {
	what, arg, _ := strings.Cut(os.Getenv(childVariable), " ")
	switch what {
	case "":
		return false
	case "report": // its arguments and environment, to a file
		text, _ := json.Marshal(report{Args: os.Args[1:], Env: os.Environ()})
		_ = os.WriteFile(arg, text, 0o600)
	case "exit":
		n, _ := strconv.Atoi(arg)
		os.Exit(n)
	case "leave": // a process that outlives it
		self, _ := os.Executable()
		id, _, err := syscall.StartProcess(self, nil, &syscall.ProcAttr{
			Env: append(os.Environ(), childVariable+"=sleep"), Files: []uintptr{0, 0, 0},
			Sys: &syscall.SysProcAttr{CmdLine: "sleep"},
		})
		if err != nil {
			os.Exit(9)
		}
		tell(arg, strconv.Itoa(id))
	case "sleep":
		time.Sleep(10 * time.Minute)
	case "console": // has changed, and what we take for ours has not
		newHost()
		had := systemConsole().present()
		change := kernel32.NewProc("AllocConsole")
		if had {
			change = freeConsole
		}
		_, _, _ = change.Call()
		page, err := windows.GetConsoleCP()
		tell(arg, fmt.Sprint(had == (err == nil && page != 0), had == systemConsole().present()))
	case "parent": // what envexec does, to be killed
		p, err := newHost().start(childSpec("sleep"))
		if err != nil {
			os.Exit(9)
		}
		tell(arg, strconv.Itoa(p.pid()))
		time.Sleep(10 * time.Minute)
	}
	return true
}

type report struct{ Args, Env []string }

// tell writes a file in one step.
func tell(path, text string) {
	_ = os.WriteFile(path+".new", []byte(text), 0o600)
	_ = os.Rename(path+".new", path)
}

func childSpec(what string) spec {
	self, _ := os.Executable()
	return spec{path: self, argv: []string{"child"}, env: append(os.Environ(), childVariable+"="+what), files: []uintptr{0, 0, 0}}
}

// tempFile is a name in a directory of its own. t.TempDir removes directories with a
// system call that not every Windows has.
func tempFile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "supervise")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
		_ = os.Remove(dir)
	})
	return filepath.Join(dir, "told")
}

func runChild(t *testing.T, what string, args ...string) error {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return RunCommand(t.Context(), Command{Args: append([]string{self}, args...), Env: append(os.Environ(), childVariable+"="+what)})
}

func reported(t *testing.T, file string) report {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

var arguments = []string{
	"", "plain", "two words", `"`, `a"b`, `\`, `C:\dir\`, `C:\Program Files\`, `a\\"b`, `\\server\share`, "tab\there", "line\nbreak",
	"%PATH%", "!x!", "^&|<>()", "ünï 日本 😀", "-x=y z", "'single'", "*?.go", "\u00a0",
}

func TestArgumentsArriveAsGiven(t *testing.T) {
	file := tempFile(t)
	if err := runChild(t, "report "+file, arguments...); err != nil {
		t.Fatal(err)
	}
	if got := reported(t, file).Args; !slices.Equal(got, arguments) {
		t.Errorf("arrived %q\nwant    %q", got, arguments)
	}
}

func FuzzArguments(f *testing.F) {
	for _, a := range arguments {
		f.Add(a, `x"\`)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) || !utf8Valid(a+b) {
			t.Skip()
		}
		_, line, err := commandLine(`C:\app.exe`, []string{"app", a, b})
		if err != nil {
			t.Fatal(err)
		}
		got, err := windows.DecomposeCommandLine(line)
		if err != nil || !slices.Equal(got, []string{"app", a, b}) {
			t.Errorf("%q and %q became %s and then %q, %v", a, b, line, got, err)
		}
	})
}

// The system's own reading of a command line yields what was given, for a great many
// arguments of what is special in one.
func TestArgumentsAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{`"`, `\`, `\\`, " ", "\t", "a", "%", "^", "&", "'", "ü", "😀", "\n", "", "-", "/"}
	for range 20000 {
		args := []string{"app"}
		for range 1 + random.IntN(4) {
			var b strings.Builder
			for range random.IntN(9) {
				b.WriteString(pieces[random.IntN(len(pieces))])
			}
			args = append(args, b.String())
		}
		_, line, err := commandLine(`C:\app.exe`, args)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := windows.DecomposeCommandLine(line); err != nil || !slices.Equal(got, args) {
			t.Fatalf("%q became %s and then %q, %v", args, line, got, err)
		}
	}
}

func utf8Valid(s string) bool { return strings.ToValidUTF8(s, "") == s }

func TestEnvironmentArrivesAsGiven(t *testing.T) {
	file := tempFile(t)
	self, _ := os.Executable()
	env := []string{childVariable + "=report " + file, "Größe=日本 😀", "EMPTY=", "LONG=" + strings.Repeat("x", 32767-6)}
	if err := RunCommand(t.Context(), Command{Args: []string{self}, Env: env}); err != nil {
		t.Fatal(err)
	}
	got := reported(t, file).Env
	for _, want := range env {
		if !slices.Contains(got, want) {
			t.Errorf("%.40s did not arrive", want)
		}
	}
}

// Without SYSTEMROOT nothing runs, and CreateProcess wants the variables sorted.
func TestEnvironmentIsAsCreateProcessWantsIt(t *testing.T) {
	t.Setenv("SYSTEMROOT", "") // it is not ours that counts
	dir, err := windows.GetSystemWindowsDirectory()
	if err != nil {
		t.Fatal(err)
	}
	root := "SYSTEMROOT=" + dir
	for _, tc := range []struct{ env, want []string }{
		{nil, []string{root}},
		{[]string{"z=1", "A=1"}, []string{"A=1", root, "z=1"}},
		{[]string{`SystemRoot=D:\W`}, []string{`SystemRoot=D:\W`}},
		{[]string{"PATH=p", `=C:=C:\dir`}, []string{`=C:=C:\dir`, "PATH=p", root}},
	} {
		given := slices.Clone(tc.env)
		if got := environment(tc.env); !slices.Equal(got, tc.want) || !slices.Equal(tc.env, given) {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestBatchFiles(t *testing.T) {
	for name, want := range map[string]bool{
		"a.bat": true, "A.CMD": true, "a.cmd.": true, "a.bat . .": true, "a.exe": false, "bat": false, "a.bat.exe": false, `c.bat\a`: false,
	} {
		if isBatch(name) != want {
			t.Errorf("isBatch(%q) = %v", name, !want)
		}
	}
	for _, bad := range []string{`"`, `a"&calc"`, "%PATH%", "!x!", "^", "a\nb", "a\rb"} {
		if _, _, err := commandLine(`C:\a.cmd`, []string{"a", "ok", bad}); err == nil || !strings.Contains(err.Error(), "argument 2") {
			t.Errorf("%q is passed to a batch file: %v", bad, err)
		}
		if strings.Contains(bad, "calc") {
			continue
		}
		if err := runChild(t, "exit 0", bad); err != nil {
			t.Errorf("%q is refused for a program: %v", bad, err)
		}
	}
	if _, _, err := commandLine(`C:\100%\a.cmd`, []string{"a"}); err == nil {
		t.Error("a batch file's path may hold %")
	}
	long := strings.Repeat("x", 8000)
	if _, _, err := commandLine(`C:\a.cmd`, []string{"a", long}); err != nil {
		t.Error(err)
	}
	if _, _, err := commandLine(`C:\a.cmd`, []string{"a", long, long[:200]}); err == nil || !strings.Contains(err.Error(), "cmd.exe takes 8191") {
		t.Errorf("a line that cmd.exe cuts: %v", err)
	}
	application, line, err := commandLine(`C:\my dir\a.cmd`, []string{"a", "plain", "two words", "a&b|c", `C:\x y\`, ""})
	if err != nil || !strings.HasSuffix(strings.ToLower(application), `\system32\cmd.exe`) {
		t.Errorf("%s, %v", application, err)
	}
	if want := `cmd.exe /e:on /v:off /d /s /c ""C:\my dir\a.cmd" plain "two words" "a&b|c" "C:\x y\\" """`; line != want {
		t.Errorf("%s\nwant %s", line, want)
	}
}

func TestABatchFileRuns(t *testing.T) {
	file := tempFile(t)
	script := filepath.Join(filepath.Dir(file), "a script.cmd")
	self, _ := os.Executable()
	if err := os.WriteFile(script, []byte("@\""+self+"\" %*\r\n@exit /b %ERRORLEVEL%\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"plain", "two words", "a&b|c<d>(e)", `C:\x y\`, "", "日本"}
	run := func(what string) error {
		return RunCommand(t.Context(), Command{Args: append([]string{script}, args...), Env: append(os.Environ(), childVariable+"="+what)})
	}
	if err := run("report " + file); err != nil {
		t.Fatal(err)
	}
	if got := reported(t, file).Args; !slices.Equal(got, args) {
		t.Errorf("arrived %q\nwant    %q", got, args)
	}
	var ended *CommandError
	if err := run("exit 7"); !errors.As(err, &ended) || ended.Status.Code != 7 {
		t.Errorf("the batch file's status: %v", err)
	}
}

func TestCtrlBreak(t *testing.T) {
	var log []string
	refuse := errors.New("no")
	api := func(present bool, attach, generate error) consoleAPI {
		log = nil
		note := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
		return consoleAPI{
			present:  func() bool { return present },
			attach:   func(pid uint32) error { note("attach %d", pid); return attach },
			detach:   func() { note("detach") },
			changed:  func() { note("changed") },
			generate: func(event, group uint32) error { note("event %d to %d", event, group); return generate },
		}
	}
	for _, tc := range []struct {
		name    string
		console consoleAPI
		want    string
		err     error
	}{
		{"with a console", api(true, nil, nil), "event 1 to 42", nil},
		{"in a service", api(false, nil, nil), "attach 42, changed, event 1 to 42, detach, changed", nil},
		{"without any", api(false, refuse, nil), "attach 42, changed", refuse},
		{"refused", api(false, nil, refuse), "attach 42, changed, event 1 to 42, detach, changed", refuse},
	} {
		log = nil
		if err := tc.console.interrupt(42); !errors.Is(err, tc.err) || strings.Join(log, ", ") != tc.want {
			t.Errorf("%s: %v, %q; want %q", tc.name, err, log, tc.want)
		}
	}
	// Whom a program has left behind shares its console.
	c := api(false, nil, nil)
	c.attach = func(pid uint32) error {
		log = append(log, fmt.Sprintf("attach %d", pid))
		if pid != 44 {
			return refuse
		}
		return nil
	}
	if err := c.interrupt(42, 43, 44, 45); err != nil || strings.Join(log, ", ") != "attach 42, attach 43, attach 44, changed, event 1 to 42, detach, changed" {
		t.Errorf("%v, %q", err, log)
	}
	// It is the answer to every signal but KILL.
	p := &windowsProcess{id: 42, console: api(true, nil, nil)}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		log = nil
		if err := p.stop(sig, true); err != nil || !slices.Equal(log, []string{"event 1 to 42"}) {
			t.Errorf("%v: %q, %v", sig, log, err)
		}
	}
}

// While interrupt has joined a program's console, what is started must not share that.
func TestTheConsoleIsAskedForOnce(t *testing.T) {
	file := tempFile(t)
	if err := runChild(t, "console "+file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "false true" {
		t.Errorf("has no other console, seems to have the same: %s, %v", text, err)
	}
}

// begun starts a program with a console that answers as given.
func begun(t *testing.T, what string, generate error) *windowsProcess {
	t.Helper()
	silent := consoleAPI{present: func() bool { return true }, generate: func(uint32, uint32) error { return generate }}
	p, err := windowsHost{silent}.start(childSpec(what))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.reap)
	return p.(*windowsProcess)
}

// wait for the program's end; a stuck one ends the test with its own timeout.
func ended(p process) Status { return p.wait(nil) }

func TestStatusAndKill(t *testing.T) {
	if st := ended(begun(t, "exit 3", nil)); st.Code != 3 {
		t.Errorf("%v", st)
	}
	if st := ended(begun(t, "exit -1073741510", nil)); uint32(st.Code) != 0xC000013A { // as after Ctrl-C
		t.Errorf("%v", st)
	}
	p := begun(t, "sleep", nil)
	if err := p.kill(false); err != nil {
		t.Fatal(err)
	}
	if st := ended(p); st.Code != killedCode {
		t.Errorf("killed it ends with %v", st)
	}
}

// Where Ctrl-Break cannot be sent there is nothing to wait for.
func TestStopWithoutCtrlBreakIsKill(t *testing.T) {
	p := begun(t, "sleep", windows.ERROR_INVALID_HANDLE)
	if err := p.stop(syscall.SIGTERM, false); !errors.Is(err, windows.ERROR_INVALID_HANDLE) {
		t.Errorf("%v", err)
	}
	if st := ended(p); st.Code != killedCode {
		t.Errorf("it ends with %v", st)
	}
}

// gone waits until process id has ended. Some processes cannot be asked any more then.
func gone(t *testing.T, file string) {
	t.Helper()
	var text []byte
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		var err error
		if text, err = os.ReadFile(file); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the process was never started")
		}
	}
	id, _ := strconv.Atoi(string(text))
	for end := time.Now().Add(time.Minute); lives(uint32(id)); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d lives on", id)
		}
	}
}

func lives(id uint32) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, id)
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }()
	got, err := windows.WaitForSingleObject(h, 0)
	return err == nil && got == uint32(windows.WAIT_TIMEOUT)
}

func TestWhatAProgramLeavesIsEnded(t *testing.T) {
	file := tempFile(t)
	p := begun(t, "leave "+file, nil)
	if st := ended(p); st.Code != 0 {
		t.Fatal(st)
	}
	if n := alive(p.job); n != 1 {
		t.Errorf("the job has %d processes, want the one left behind", n)
	}
	if left := p.left(); len(left) != 1 || !lives(left[0]) {
		t.Errorf("left are %v", left)
	}
	p.clean(context.Background(), time.Second, true)
	gone(t, file)
}

// Nothing survives us, even when we are ended from outside.
func TestNothingSurvivesOurEnd(t *testing.T) {
	file := tempFile(t)
	// Not in a job of this test: that would end it as well.
	s := childSpec("parent " + file)
	id, handle, err := syscall.StartProcess(s.path, s.argv, &syscall.ProcAttr{Env: s.env, Files: s.files})
	if err != nil {
		t.Fatal(err)
	}
	parent := windows.Handle(handle)
	defer func() { _ = windows.CloseHandle(parent) }()
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("process %d started nothing", id)
		}
	}
	if err := windows.TerminateProcess(parent, 1); err != nil {
		t.Fatal(err)
	}
	gone(t, file)
}

func TestAServiceHasNoStandardHandles(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	files, done, err := standardHandles([]uintptr{null.Fd(), 0, uintptr(windows.InvalidHandle)})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if files[0] != null.Fd() || files[1] != files[2] || !open(windows.Handle(files[1])) {
		t.Errorf("%v", files)
	}
}

func TestFindProgram(t *testing.T) {
	dir := filepath.Dir(tempFile(t))
	for _, name := range []string{"prog.exe", "script.cmd"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ name, path, dir, want string }{
		{"prog", `C:\no;` + dir, "", "prog.exe"},
		{"PROG.EXE", dir, "", "prog.exe"},
		{"script", dir, "", "script.cmd"},
		{`.\prog`, "", dir, "prog.exe"},
		{filepath.Join(dir, "prog.exe"), "", "", "prog.exe"},
		{"prog", ".;relative", dir, ""}, // never the present directory
		{"absent", dir, "", ""},
	} {
		got, err := findProgram(tc.name, tc.path, tc.dir)
		var start *StartError
		switch {
		case tc.want == "" && (!errors.As(err, &start) || start.Code != 127):
			t.Errorf("%s: %s, %v", tc.name, got, err)
		case tc.want != "" && (err != nil || !strings.EqualFold(got, filepath.Join(dir, tc.want))):
			t.Errorf("%s: %s, %v", tc.name, got, err)
		}
	}
}
