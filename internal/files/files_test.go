package files

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReplaceInOneStep goes the whole way of a secret file, twice.
func TestReplaceInOneStep(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o400, 0o644} {
		path := filepath.Join(t.TempDir(), "secret")
		for _, text := range []string{"one", "two"} {
			tmp, err := CreateTemp(filepath.Dir(path), ".tmp-*", mode, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tmp.WriteString(text); err != nil {
				t.Fatal(err)
			}
			if err := SetMode(tmp, mode); err != nil {
				t.Fatal(err)
			}
			if err := tmp.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Replace(tmp.Name(), path); err != nil {
				t.Fatalf("%v %s: %v", mode, text, err)
			}
			if err := SyncDir(filepath.Dir(path)); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Fatalf("%v: the file holds %q, %v", mode, got, err)
			}
			info, err := os.Lstat(path)
			if err != nil || !HasMode(path, info, mode) {
				t.Errorf("mode %v was not given: %v", mode, info.Mode())
			}
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".tmp-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestPrivateFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "private")
	f, err := OpenPrivate(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPrivate(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL); err == nil {
		t.Error("made a file that is there")
	}
	info, err := os.Lstat(path)
	if err != nil || !HasMode(path, info, 0o600) {
		t.Errorf("the file is not private: %v, %v", info.Mode(), err)
	}
}
