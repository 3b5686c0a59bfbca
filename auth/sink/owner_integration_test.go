//go:build integration && unix

package sink

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// TestOwner gives the file to another user, as root may, at the first write and
// at each later one; nobody else could.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		vaulttest.Missing(t, vaulttest.PartRoot, "only root gives files away")
	}
	for name, want := range map[string][2]int{"both": {12345, 23456}, "owner": {12345, Keep}, "group": {Keep, 23456}} {
		path := filepath.Join(t.TempDir(), "token")
		s, err := New(Config{File: FileConfig{Path: path, Mode: 0o440, UID: want[0], GID: want[1]}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, id := range []string{"hvs.one", "hvs.two"} {
			if err := s.WriteToken(t.Context(), secret.Token{ID: secret.NewText(id)}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			owner := info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // on unix it is one
			if uid, gid := max(want[0], 0), max(want[1], 0); int(owner.Uid) != uid || int(owner.Gid) != gid || info.Mode() != 0o440 {
				t.Errorf("%s: the file is of %d:%d, %v, want %d:%d", name, owner.Uid, owner.Gid, info.Mode(), uid, gid)
			}
		}
	}
}
