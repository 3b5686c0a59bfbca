//go:build unix

package sink

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/secret"
)

// TestPipesAndDevicesStay: a sink replaces what is at its path, which must not be
// /dev/null or somebody's pipe.
func TestPipesAndDevicesStay(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFile(t, FileConfig{Path: pipe})
	if f.Check() == nil || f.WriteToken(t.Context(), secret.Token{ID: secret.NewText("hvs.x")}) == nil {
		t.Error("a pipe was taken for a place to write to")
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("the pipe is gone: %v", err)
	}
}
