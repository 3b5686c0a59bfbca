package sink

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/envexec/envexec/secret"
)

func newFile(t *testing.T, c FileConfig) *File {
	t.Helper()
	c.UID, c.GID = Keep, Keep
	f, err := NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFileContentAndMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o600, 0o644, 0o400} {
		path := filepath.Join(t.TempDir(), "token")
		f := newFile(t, FileConfig{Path: path, Mode: mode})
		for _, id := range []string{"hvs.one", "hvs.two"} { // the second write replaces even a read-only file
			if err := f.WriteToken(t.Context(), secret.Token{ID: secret.NewText(id)}); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != id {
				t.Errorf("file holds %q, %v, want %q", b, err, id)
			}
		}
		if mode == 0 {
			mode = 0o640
		}
		if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode() != mode {
			t.Errorf("mode is %v, want %v", info.Mode(), mode)
		}
	}
}

func TestFileIsNotWrittenThroughASymlink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	if err := newFile(t, FileConfig{Path: link}).WriteToken(t.Context(), secret.Token{ID: secret.NewText("hvs.x")}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "precious" {
		t.Errorf("the symlink's target was overwritten by %q", b)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink != 0 {
		t.Error("the link is still there")
	}
}

func TestFileLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	f := newFile(t, FileConfig{Path: filepath.Join(dir, "token")})
	if err := f.Check(); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "token"), 0o700); err != nil { // a rename onto it must fail
		t.Fatal(err)
	}
	if err := f.WriteToken(t.Context(), secret.Token{ID: secret.NewText("hvs.x")}); err == nil {
		t.Error("wrote a token onto a directory")
	}
	if err := f.Check(); err == nil {
		t.Error("a directory passes the check")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if err := newFile(t, FileConfig{Path: filepath.Join(dir, "no", "token")}).Check(); err == nil {
		t.Error("a missing directory passes the check")
	}
}

func TestFileConfigIsChecked(t *testing.T) {
	for name, c := range map[string]FileConfig{"no path": {}, "setuid": {Path: "x", Mode: fs.ModeSetuid | 0o600}} {
		if _, err := NewFile(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
