//go:build linux

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// What every test runs; set once by TestMain.
var (
	binary  string // envexec, absolute
	fixture string // the program it supervises, absolute
	scratch string // a directory for the whole run, readable by every user
)

// shutdowns end what the whole run shares (daemons), in reverse order.
var shutdowns []func()

// The storm of Z4 and Z10 is this test binary run again as a supervisor: its main function must stay on the thread
// that adopts orphans.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if script := os.Getenv("CONFORMANCE_STORM"); script != "" {
		os.Exit(storm(script))
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	scratch, err = os.MkdirTemp("", "conformance-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if left := os.RemoveAll(scratch); err == nil { // a mount that stays, for example
			err = left
		}
	}()
	if err := os.Chmod(scratch, 0o755); err != nil { //nolint:gosec // programs run as other users live here
		return 0, err
	}
	fixture = filepath.Join(scratch, "fixture")
	if err := build(fixture, "./fixture"); err != nil {
		return 0, err
	}
	if binary, err = findBinary(); err != nil {
		return 0, err
	}
	code = m.Run()
	for i := len(shutdowns) - 1; i >= 0; i-- {
		shutdowns[i]()
	}
	if leak := goleak.Find(); code == 0 && leak != nil {
		return 0, leak
	}
	return code, nil
}

// findBinary takes $ENVEXEC_BIN, or builds envexec as it is now.
func findBinary() (string, error) {
	path := os.Getenv("ENVEXEC_BIN")
	if path == "" {
		path = filepath.Join(scratch, "envexec")
		return path, run(exec.Command("make", "-s", "-C", "..", "build", "BINARY="+path)) // as it is shipped
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	// The containers and the unprivileged cases need it where they can reach it.
	copied := filepath.Join(scratch, "envexec")
	text, err := os.ReadFile(path) //nolint:gosec // the tester's own choice
	if err != nil {
		return "", err
	}
	return copied, os.WriteFile(copied, text, 0o755) //nolint:gosec // a program
}

func build(out, pkg string) error {
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, text)
	}
	return nil
}

// require skips the test when a part is absent, and fails it when ENVEXEC_TEST_REQUIRE names the part.
func require(t testing.TB, part string, problem error) {
	t.Helper()
	if problem == nil {
		return
	}
	for name := range strings.SplitSeq(os.Getenv("ENVEXEC_TEST_REQUIRE"), ",") {
		if name = strings.TrimSpace(name); name == part || name == "all" {
			t.Fatalf("%s is required: %v", part, problem)
		}
	}
	t.Skipf("%s is missing: %v", part, problem)
}

// requireRoot is for cases that change limits, users or namespaces.
func requireRoot(t testing.TB) {
	t.Helper()
	var problem error
	if os.Getuid() != 0 {
		problem = fmt.Errorf("running as user %d", os.Getuid())
	}
	require(t, "root", problem)
}
