package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUnreadableFiles: a configuration one has no right to is named, with what is forbidden.
func TestUnreadableFiles(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "envexec-unreadable") // a way everybody may go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file, folder := filepath.Join(dir, "a.hcl"), filepath.Join(dir, "conf")
	if err := os.WriteFile(file, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	path, err := exec.LookPath("envexec")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// By its descriptor: the test's own directory is closed to others.
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "check", "--offline", "--config", file, "--config", folder)
	cmd.Dir, cmd.ExtraFiles = dir, []*os.File{self}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Args[0] = "envexec"
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("accepted:\n%s", out)
	}
	for _, want := range []string{file + ": cannot open: permission denied", folder + ": cannot open: permission denied"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
