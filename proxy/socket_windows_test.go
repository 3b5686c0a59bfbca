package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/files"
)

// A socket is private, and takes the place of a dead one but of nothing else.
func TestWindowsSocket(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listenUnix(&Listener{Address: file, Mode: 0o600}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("in place of a file: %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if _, _, err := listenUnix(&Listener{Address: file, User: "app"}); err == nil || !strings.Contains(err.Error(), "owner") {
		t.Errorf("with an owner: %v", err)
	}
	path := filepath.Join(dir, "socket")
	for range 2 { // the second in place of what the first left
		socket, _, err := listenUnix(&Listener{Address: path, Mode: 0o600})
		if !HasUnixSockets() {
			if err == nil {
				t.Fatal("a socket without unix sockets")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !files.HasMode(path, nil, 0o600) {
			t.Error("others may use the socket")
		}
		if _, _, err := listenUnix(&Listener{Address: path, Mode: 0o600}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second listener: %v", err)
		}
		_ = socket.Close()
	}
}
