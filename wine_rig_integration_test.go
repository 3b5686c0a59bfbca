//go:build integration && linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

	conn  net.Conn
	lines chan string   // what it says later
	gone  chan struct{} // closed with its connection
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
	t.Cleanup(w.end)
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

func (w *wine) prefix() string { return "WINEPREFIX=" + filepath.Join(w.home, "prefix") }

// command is a process of Linux that belongs to this Windows.
func (w *wine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, w.prefix(), "WINEDEBUG=-all",
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

// wineFailed reports whether Wine's service manager gave up a start by itself, as it now
// and then does before our program is begun: ERROR_INTERNAL_ERROR.
func wineFailed(out string) bool {
	return strings.Contains(out, "start service") && strings.Contains(out, "Internal error")
}

// run runs a Windows program to its end.
func (w *wine) run(args ...string) (status int, out string) {
	w.t.Helper()
	for range 3 {
		cmd, file := w.begin(nil, args...)
		if status, out = end(w.t, cmd, file); !wineFailed(out) {
			break
		}
	}
	return status, out
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
				v := &visit{conn: conn, lines: make(chan string, 64), gone: make(chan struct{})}
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
