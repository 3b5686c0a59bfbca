//go:build integration && linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// wine is a Windows of its own, with envexec.exe and app.exe in dir.
type wine struct {
	t       *testing.T
	binary  string // wine64
	server  string // wineserver64
	home    string
	dir     string // as Linux names it
	events  string // what services write to the event log
	visits  chan *visit
	address string // where app.exe calls
}

// visit is one run of app.exe.
type visit struct {
	PID  int
	Dir  string
	Args []string
	Env  map[string]string

	lines chan string   // what it says later
	gone  chan struct{} // closed when its process has ended
}

// windowsPath is how Windows programs name a path of Linux.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

func newWine(t *testing.T) *wine {
	t.Helper()
	w := &wine{t: t, home: t.TempDir(), visits: make(chan *visit, 64)}
	var err error
	for _, lib := range []string{"/usr/lib/wine", "/usr/lib64/wine", "/usr/local/bin", "/usr/bin"} {
		if w.binary, err = exec.LookPath(filepath.Join(lib, "wine64")); err == nil {
			break
		}
	}
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartWine, "wine64 is not installed")
	}
	for _, name := range []string{"wineserver64", "wineserver"} {
		if w.server, err = exec.LookPath(filepath.Join(filepath.Dir(w.binary), name)); err == nil {
			break
		}
	}
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartWine, "wineserver is not installed")
	}
	compiler, err := exec.LookPath("x86_64-w64-mingw32-gcc")
	if err != nil {
		vaulttest.Missing(t, vaulttest.PartWine, "mingw-w64 is not installed: it builds the library that Wine lacks")
	}
	w.dir, w.events = filepath.Join(w.home, "my app"), filepath.Join(w.home, "events")
	for _, dir := range []string{w.dir, filepath.Join(w.home, "prefix")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = w.command(context.Background(), w.server, "-k").Run() })
	if out, err := w.command(t.Context(), w.binary, "wineboot", "-i").CombinedOutput(); err != nil {
		t.Fatalf("make a Windows: %v\n%s", err, out)
	}
	w.build(compiler, "-shared", "-Os", "-s", "-nostartfiles", "-e", "0",
		"-o", filepath.Join(w.home, "prefix/drive_c/windows/system32/bcryptprimitives.dll"), "testdata/wine/bcryptprimitives.c", "-ladvapi32")
	w.build("go", "build", "-tags", "urfave_cli_no_docs", "-o", filepath.Join(w.dir, "envexec.exe"), ".")
	w.build("go", "build", "-o", filepath.Join(w.dir, "app.exe"), "./testdata/wine/app")
	w.listen()
	w.keep()
	return w
}

// keep holds the Windows up: without a program Wine ends its service manager, and the
// next program that needs one would start it as a part of itself.
func (w *wine) keep() {
	w.t.Helper()
	out, err := os.Create(w.events)
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd := w.command(w.t.Context(), w.binary, "app.exe", w.address)
	cmd.Env = append(cmd.Env, "WINEDEBUG=-all,+eventlog") // services inherit it, and where it goes
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	w.visited()
}

// build runs a compiler for Windows.
func (w *wine) build(name string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// command is a process of Linux that belongs to this Windows.
func (w *wine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "WINEPREFIX=" + filepath.Join(w.home, "prefix"), "WINEDEBUG=-all",
		"WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=", // nothing is offered for installation
		"LANG=C.UTF-8",
	}
	return cmd
}

// begin starts a Windows program; what it prints is in the file.
func (w *wine) begin(env []string, args ...string) (*exec.Cmd, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	w.t.Cleanup(cancel)
	cmd := w.command(ctx, w.binary, args...)
	cmd.Env = append(cmd.Env, env...)
	out, err := os.CreateTemp(w.home, "out-*") // a file: a pipe would be held open by what goes on in the background
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd, out.Name()
}

func end(t *testing.T, cmd *exec.Cmd, file string) (status int, out string) {
	t.Helper()
	err := cmd.Wait()
	text, rerr := os.ReadFile(file)
	var exit *exec.ExitError
	if rerr != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v, %v\n%s", err, rerr, text)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// run runs a Windows program to its end.
func (w *wine) run(args ...string) (status int, out string) {
	w.t.Helper()
	cmd, file := w.begin(nil, args...)
	return end(w.t, cmd, file)
}

// must runs it and wants a status and a text.
func (w *wine) must(status int, text string, args ...string) string {
	w.t.Helper()
	got, out := w.run(args...)
	if got != status || !strings.Contains(out, text) {
		w.t.Fatalf("%q ended with %d, want %d and %q\n%s\nevents: %s", args, got, status, text, out, w.eventText())
	}
	return out
}

func (w *wine) eventText() string {
	text, _ := os.ReadFile(w.events)
	return string(text)
}

func (w *wine) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wine) listen() {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ln.Close() })
	w.address = ln.Addr().String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewScanner(conn)
				in.Buffer(nil, 1<<20)
				v := &visit{lines: make(chan string, 64), gone: make(chan struct{})}
				if !in.Scan() || json.Unmarshal(in.Bytes(), v) != nil {
					return
				}
				w.visits <- v
				for in.Scan() {
					v.lines <- in.Text()
				}
				close(v.gone)
			}()
		}
	}()
}

// visited waits for the next run of app.exe.
func (w *wine) visited() *visit {
	w.t.Helper()
	select {
	case v := <-w.visits:
		return v
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("app.exe was not started\nevents: %s", w.eventText())
		return nil
	}
}

// ends waits until the process is gone.
func (v *visit) ends(t *testing.T) {
	t.Helper()
	select {
	case <-v.gone:
	case <-time.After(2 * time.Minute):
		t.Fatalf("process %d %q lives on", v.PID, v.Args)
	}
}

// TestIntegrationWindows runs envexec.exe under Wine, with a real Vault.
func TestIntegrationWindows(t *testing.T) {
	w := newWine(t)
	v := vaulttest.Start(t)
	v.Policy(t, "app", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "app")
	w.write("role", role.ID)
	w.write("secret", role.SecretID)
	w.write("app.hcl", fmt.Sprintf(`
vault { address = %q }
auto_auth {
  method "approle" {
    config = { role_id_file_path = "role", secret_id_file_path = "secret", remove_secret_id_file_after_reading = false }
  }
}
env_template "DB_PASSWORD" { contents = "{{ with secret \"secret/data/db\" }}{{ .Data.data.password }}{{ end }}" }
template_config { static_secret_render_interval = "500ms" }
`, v.Addr))
	put := func(password string) { v.PutKV2(t, "secret/db", map[string]any{"password": password}) }
	put("größe \"1\"")

	for _, tc := range []struct {
		name string
		test func(t *testing.T, w *wine)
	}{
		{"console", func(t *testing.T, w *wine) {
			args := []string{"", "two words", `a"b\`, `C:\dir\`, "%PATH%", "日本 😀"}
			status, out := w.run(append([]string{"envexec.exe", "--config", "app.hcl", "--file", "cert=secret/db#password", "--", "app", w.address}, args...)...)
			if status != 127 { // not in PATH: the present directory is not searched
				t.Errorf("status %d\n%s", status, out)
			}
			cmd, file := w.begin(nil, append([]string{"envexec.exe", "--config", "app.hcl", "--file", "cert=secret/db#password", "--", `.\app.exe`, w.address}, args...)...)
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "größe \"1\"" || !slices.Equal(a.Args, args) {
				t.Errorf("password %q, arguments %q", a.Env["DB_PASSWORD"], a.Args)
			}
			if info, err := os.Stat(filepath.Join(w.dir, "cert")); err != nil || info.Mode().Perm()&0o007 != 0 { // Wine shows the administrators as the group
				t.Errorf("the file of a secret: %v, %v", info, err)
			}
			w.must(0, "ready", "envexec.exe", "status")
			put("two")
			b := w.visited()
			a.ends(t)
			if b.Env["DB_PASSWORD"] != "two" {
				t.Errorf("rotated to %q", b.Env["DB_PASSWORD"])
			}
			// Whatever way envexec ends, nothing survives it.
			w.kill(cmd)
			b.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"status of the program", func(t *testing.T, w *wine) {
			w.must(7, "", "envexec.exe", "--", `.\app.exe`, w.address, "exit", "7")
			w.visited().ends(t)
		}},
		{"a tree is ended", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--", `.\app.exe`, w.address, "tree")
			a, b := w.visited(), w.visited()
			w.kill(cmd)
			a.ends(t)
			b.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"hook", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--config", "app.hcl", "--on-change", `hook:.\app.exe `+w.address+" exit 0", "--", `.\app.exe`, w.address)
			a := w.visited()
			put("three")
			if h := w.visited(); h.Env["DB_PASSWORD"] != "three" || h.Env["ENVEXEC_CHANGED"] != "DB_PASSWORD" || len(h.Args) == 0 {
				t.Errorf("the hook saw %q %q %q", h.Env["DB_PASSWORD"], h.Env["ENVEXEC_CHANGED"], h.Args)
			}
			w.kill(cmd)
			a.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"refused at load", func(t *testing.T, w *wine) {
			w.write("bad.hcl", "change {\n  policy = \"overlap\"\n}\n")
			w.must(78, "bad.hcl:2:3: change.policy: overlap is not possible on Windows", "envexec.exe", "--config", "bad.hcl", "--stop-signal", "USR1", "--", "app")
		}},
		{"private listener", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--config", "app.hcl", "--listen-vault", `unix://C:\v.sock`, "--child-token", "--", `.\app.exe`, w.address)
			a := w.visited()
			if !strings.HasPrefix(a.Env["VAULT_ADDR"], "http://127.0.0.1:") || a.Env["VAULT_TOKEN"] == "" {
				t.Errorf("the program got VAULT_ADDR %q", a.Env["VAULT_ADDR"])
			}
			w.kill(cmd)
			a.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"service", func(t *testing.T, w *wine) {
			put("four")
			service := func(status int, text, verb string, args ...string) {
				t.Helper()
				w.must(status, text, append([]string{"envexec.exe", "service", verb, "--name", "demo"}, args...)...)
			}
			service(78, "there is none", "status")
			w.write("broken.hcl", "valt {}\n")
			service(78, "unknown key", "install", "--config", "broken.hcl", "--", `.\app.exe`)
			service(0, "installed demo", "install", "--config", "app.hcl", "--log-file", "demo.log", "--", `.\app.exe`, w.address, "two words")
			service(78, "installed already", "install", "--config", "app.hcl", "--", `.\app.exe`)
			service(3, "stopped", "status")
			service(0, "running, process", "start")
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "four" || !strings.EqualFold(a.Dir, windowsPath(w.dir)) || !slices.Equal(a.Args, []string{"two words"}) {
				t.Errorf("the program saw %q in %q with %q", a.Env["DB_PASSWORD"], a.Dir, a.Args)
			}
			service(0, "running, process", "status")
			w.must(0, "ready", "envexec.exe", "status") // an administrator finds it
			put("five")
			b := w.visited()
			a.ends(t)
			if b.Env["DB_PASSWORD"] != "five" {
				t.Errorf("rotated to %q", b.Env["DB_PASSWORD"])
			}
			service(0, "stopped, ended in order", "stop")
			b.ends(t)
			service(0, "stopped", "stop") // again does nothing
			service(0, "uninstalled", "uninstall")
			service(78, "there is none", "status")
		}},
		{"service waits for Vault", func(t *testing.T, w *wine) {
			v.Seal(t)
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "late", "--config", "app.hcl", "--log-file", "late.log", "--log-level", "debug", "--", `.\app.exe`, w.address)
			cmd, file := w.begin(nil, "envexec.exe", "service", "start", "--name", "late")
			for end := time.Now().Add(2 * time.Minute); ; {
				status, out := w.run("envexec.exe", "service", "status", "--name", "late")
				if status == 3 && strings.Contains(out, "starting, process") {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("status %d: %s", status, out)
				}
			}
			v.Unseal(t)
			t.Cleanup(func() {
				if text, err := os.ReadFile(filepath.Join(w.dir, "late.log")); err == nil && t.Failed() {
					t.Logf("late.log: %s", text)
				}
			})
			a := w.visited()
			if status, out := end(t, cmd, file); status != 0 || !strings.Contains(out, "running") {
				t.Errorf("start ended with %d: %s", status, out)
			}
			w.must(0, "uninstalled", "envexec.exe", "service", "uninstall", "--name", "late") // and is stopped first
			a.ends(t)
			// One that still waits takes no request to stop, and is stopped all the same.
			v.Seal(t)
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "late2", "--config", "app.hcl", "--", `.\app.exe`, w.address)
			cmd, file = w.begin(nil, "envexec.exe", "service", "start", "--name", "late2")
			for end := time.Now().Add(2 * time.Minute); ; {
				if _, out := w.run("envexec.exe", "service", "status", "--name", "late2"); strings.Contains(out, "starting, process") {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it does not begin to start")
				}
			}
			w.must(0, "uninstalled", "envexec.exe", "service", "uninstall", "--name", "late2")
			_ = cmd.Process.Kill() // Wine does not tell it
			_, _ = end(t, cmd, file)
			v.Unseal(t)
		}},
		{"service exit codes", func(t *testing.T, w *wine) {
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "seven", "--", `.\app.exe`, w.address, "exit", "7")
			if status, out := w.run("envexec.exe", "service", "start", "--name", "seven"); status != 0 && !strings.Contains(out, "exit code 7") {
				t.Errorf("status %d: %s", status, out)
			}
			w.visited().ends(t)
			w.settled("seven", "stopped, the program ended with exit code 7 (0x7)")
			w.must(0, "", "envexec.exe", "service", "uninstall", "--name", "seven")

			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "missing", "--config", "app.hcl", "--env", "X=secret/nowhere#x", "--", `.\app.exe`, w.address)
			w.must(125, "envexec ended with status 78: configuration", "envexec.exe", "service", "start", "--name", "missing")
			w.settled("missing", "stopped, envexec ended with status 78: configuration")
			w.must(0, "", "envexec.exe", "service", "uninstall", "--name", "missing")
			if events := w.eventText(); !strings.Contains(events, "secret/nowhere") || !strings.Contains(events, "exit code 7") {
				t.Errorf("events: %s", events)
			}
		}},
		{"sc.exe", func(t *testing.T, w *wine) {
			exe := windowsPath(filepath.Join(w.dir, "envexec.exe"))
			w.must(0, "", "sc.exe", "create", "byhand", "binPath=", `"`+exe+`" --config=app.hcl -- .\app.exe `+w.address)
			w.must(0, "", "sc.exe", "start", "byhand")
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "five" || !strings.EqualFold(a.Dir, windowsPath(w.dir)) {
				t.Errorf("the program saw %q in %q", a.Env["DB_PASSWORD"], a.Dir)
			}
			w.settled("byhand", "running, process")
			w.must(0, "", "sc.exe", "stop", "byhand")
			a.ends(t)
			w.settled("byhand", "stopped, ended in order")
			w.must(0, "", "sc.exe", "delete", "byhand")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			own := *w
			own.t = t
			tc.test(t, &own)
		})
	}
	t.Run("unit tests", func(t *testing.T) { unitTestsUnderWine(t, w) })
}

// kill ends envexec from outside, once it and its program have settled: Wine may miss
// to end a process that is still starting.
func (w *wine) kill(cmd *exec.Cmd) {
	w.t.Helper()
	w.must(0, "ready", "envexec.exe", "status")
	_ = cmd.Process.Kill()
}

// settled waits for a state of a service: what is asked for is not there at once.
func (w *wine) settled(name, text string) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; {
		_, out := w.run("envexec.exe", "service", "status", "--name", name)
		if strings.Contains(out, text) {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("service %s: %s, want %s\nevents: %s", name, out, text, w.eventText())
		}
	}
}

// unitTestsUnderWine runs what is compiled from the _windows files, and what stands on it.
func unitTestsUnderWine(t *testing.T, w *wine) {
	own := *w
	own.t = t
	dir := t.TempDir()
	// Tests of one package are its own, of the root only those of the service.
	packages := map[string][]string{
		"environ": nil, "internal/files": nil, "internal/admin": nil, "auth/sink": nil, "supervise": nil,
		"lease/sealed": {"-test.skip=TestAFullDiskAtTheStart"}, // it makes an error as Unix has it
		".":            {"-test.run=^(TestService|TestEvents)"},
	}
	args := []string{"test", "-c", "-o", dir + "/"}
	for name := range packages {
		args = append(args, "./"+name)
	}
	own.build("go", args...)
	for name, flags := range packages {
		t.Run(name, func(t *testing.T) {
			own.t = t
			binary := filepath.Base(name) + ".test.exe"
			if name == "." {
				binary = "envexec.test.exe"
			}
			// What needs a Vault is skipped: the server does not run on Windows.
			status, out := own.run(append([]string{filepath.Join(dir, binary), "-test.v", "-test.timeout=5m"}, flags...)...)
			if status != 0 {
				for _, f := range failedUnderWine(out) {
					t.Error(f)
				}
			}
			if !strings.Contains(out, "--- PASS") && !strings.Contains(out, "--- FAIL") {
				t.Errorf("status %d, nothing ran:\n%s", status, out)
			}
		})
	}
}

var (
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	// Wine 8 cannot remove a directory as Go's os.RemoveAll does since 1.25.
	cannotRemove = regexp.MustCompile(`TempDir RemoveAll cleanup: .*: Invalid function\.`)
)

// failedUnderWine lists the failed tests with what they said, but for those that only
// could not remove their directory.
func failedUnderWine(out string) (list []string) {
	var said []string
	clean := true
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		m := failed.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "panic:"), strings.Contains(line, "goleak"):
			return append(list, out)
		case strings.HasPrefix(line, "=== "), strings.Contains(line, "--- PASS"), strings.Contains(line, "--- SKIP"):
			said, clean = nil, true
		case m != nil:
			if !clean || len(said) == 0 {
				list = append(list, m[1]+":\n"+strings.Join(said, "\n"))
			}
			said, clean = nil, true
		default:
			said = append(said, line)
			clean = clean && (cannotRemove.MatchString(line) || strings.Contains(line, ": needs vault: "))
		}
	}
	return list
}
