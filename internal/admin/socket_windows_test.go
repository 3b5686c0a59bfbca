package admin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/files"
)

// Where there are no unix sockets, only who can read the file can ask.
func TestLoopbackWantsThePassword(t *testing.T) {
	dir, err := os.MkdirTemp("", "admin") // not t.TempDir, which not every Windows can remove
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "1"+suffix)
	ln, err := listenLoopback(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		if err := os.Remove(dir); err != nil {
			t.Errorf("the file was left behind: %v", err)
		}
	})
	info, err := os.Stat(file)
	if err != nil || !files.HasMode(file, info, 0o600) {
		t.Errorf("everybody may read the password: %v", err)
	}
	address, password, ok := loopback(file)
	if !ok || len(password) < 20 || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("%q %q %v", address, password, ok)
	}
	for said, want := range map[string]bool{password + "\n": true, strings.Repeat("x", len(password)) + "\n": false, "\n": false} {
		client, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(client, said)
		_ = client.(*net.TCPConn).CloseWrite()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := allowed(conn); (err == nil) != want {
			t.Errorf("%d characters: %v", len(said), err)
		}
		_, _ = conn.Close(), client.Close()
	}
}
