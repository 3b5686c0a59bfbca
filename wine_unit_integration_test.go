//go:build integration && linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unitTestsUnderWine runs what is compiled from the _windows files, and what stands on it.
func unitTestsUnderWine(t *testing.T, w *wine) {
	dir := t.TempDir()
	// Of some packages only the tests that speak of Windows: others give a Unix's answers.
	packages := map[string]string{
		"auth/sink": "", "environ": "", "internal/admin": "", "internal/clock": "", "internal/files": "", "internal/telemetry": "",
		"lease/sealed": "", "proxy": "", "signals": "", "supervise": "",
		"config": "Windows", ".": "^(TestService|TestEvents|TestWindows|TestUnixListeners)",
	}
	own := *w
	own.t = t
	args := []string{"test", "-c", "-overlay", removable(t, dir), "-o", dir + "/"}
	for name := range packages {
		args = append(args, "./"+name)
	}
	own.build("go", args...)
	for name, only := range packages {
		t.Run(name, func(t *testing.T) {
			own.t = t
			binary := filepath.Base(name) + ".test.exe"
			if name == "." {
				binary = "envexec.test.exe"
			}
			status, out := own.run(filepath.Join(dir, binary), "-test.v", "-test.timeout=5m", "-test.run="+only)
			if status != 0 || !strings.Contains(out, "--- PASS") {
				t.Errorf("status %d\n%s", status, out)
			}
		})
	}
}

// removable makes Go's os.RemoveAll remove as it did before Go 1.25: Wine 8 lacks the
// system call it prefers, and answers with an error Go does not expect. Without it no
// test could clean up its directory.
func removable(t *testing.T, dir string) (overlay string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(strings.TrimSpace(string(root)), "src/internal/syscall/windows/at_windows.go")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const asked = "var TestDeleteatFallback bool"
	if strings.Count(string(source), asked) != 1 {
		t.Fatalf("%s has no %s", file, asked)
	}
	patched := filepath.Join(dir, "at_windows.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: patched}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	for path, content := range map[string]string{
		patched: strings.Replace(string(source), asked, "var TestDeleteatFallback = true", 1), overlay: string(text),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
