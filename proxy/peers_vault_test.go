//go:build integration && linux

package proxy

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationPeersOfOtherUsers: another user's process passes when it is listed, and
// then we do not, though the socket's mode lets all in.
func TestIntegrationPeersOfOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		vaulttest.Missing(t, vaulttest.PartRoot, "only root can be another user")
	}
	curl := tool(t, "curl")
	dir, err := os.MkdirTemp("/tmp", "envexec-peers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the other user must get in
		t.Fatal(err)
	}
	for name, allowed := range map[string]string{"by-name": "nobody", "by-id": "65534"} {
		path := filepath.Join(dir, name)
		start(t, serve(t, echo), func(c *Config) {
			c.Listeners = []Listener{{Network: "unix", Address: path, Mode: 0o666, AllowUsers: []string{allowed}}}
		})
		for uid, want := range map[uint32]bool{0: false, 65534: true, 65533: false} {
			cmd := exec.CommandContext(t.Context(), curl, "-sS", "--fail", "--unix-socket", path, "http://x/v1/x")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 65534}}
			if out, err := cmd.CombinedOutput(); (err == nil) != want {
				t.Errorf("%s: user %d: %v %s", name, uid, err, out)
			}
		}
	}
}
