//go:build unix

package proxy

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	user, group := uid, gid // all that others may give a file to
	if uid == 0 {
		user, group = 65534, 65534
	}
	for _, tt := range []struct {
		name     string
		edit     func(*Listener)
		mode     fs.FileMode
		uid, gid int
	}{
		{"alone", func(*Listener) {}, 0o600, uid, gid},
		{"mode", func(l *Listener) { l.Mode = 0o660 }, 0o660, uid, gid},
		{"user", func(l *Listener) { l.User = strconv.Itoa(user) }, 0o600, user, gid},
		{"group", func(l *Listener) { l.Group = strconv.Itoa(group) }, 0o600, uid, group},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			r := start(t, serve(t, echo), func(c *Config) {
				c.Listeners = []Listener{{Network: "unix", Address: path}}
				tt.edit(&c.Listeners[0])
			})
			info, err := os.Lstat(path)
			if err != nil || info.Mode().Perm() != tt.mode {
				t.Errorf("socket %v %v, want mode %v", info.Mode(), err, tt.mode)
			}
			if uid, gid := owner(info); uid != tt.uid || gid != tt.gid {
				t.Errorf("the socket belongs to %d:%d, want %d:%d", uid, gid, tt.uid, tt.gid)
			}
			if r.url != "unix://"+path {
				t.Errorf("address %s", r.url)
			}
			r.client.Transport.(*http.Transport).DialContext = dialUnix(path)
			r.url = "http://x"
			if a := r.ask(t, "GET", "/v1/x", ""); a.status != 200 {
				t.Errorf("answer %d", a.status)
			}
			if _, _, err := listenUnix(&Listener{Address: path, Mode: 0o600}); err == nil || !strings.Contains(err.Error(), "another process") {
				t.Errorf("a second listener: %v", err)
			}
		})
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left behind", left)
	}
}

// TestUnixSocketOfALongPath: as long as an address may be, and told when it is longer.
func TestUnixSocketOfALongPath(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", strings.Repeat("d", maxSocketPath-30))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, more := range []int{0, 1} {
		path := filepath.Join(dir, strings.Repeat("s", maxSocketPath+more-len(dir)-1))
		socket, remove, err := listenUnix(&Listener{Address: path, Mode: 0o640})
		if more > 0 {
			if err == nil || !strings.Contains(err.Error(), "at most") {
				t.Errorf("%d bytes: %v", len(path), err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", len(path), err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v %v", info, err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		socket.Close()
		remove()
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
}

func TestUnixSocketPathTaken(t *testing.T) {
	dir := t.TempDir()
	file, stale := filepath.Join(dir, "file"), filepath.Join(dir, "stale")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, _, err := listenUnix(&Listener{Address: file, Mode: 0o600}); err == nil {
		t.Error("a file was replaced")
	}
	letters := filepath.Join(dir, "letters") // a socket of another kind
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: letters, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	taken := []string{letters}
	if runtime.GOOS == "linux" { // others refuse a connection where too many wait
		taken = append(taken, busySocket(t, dir))
	}
	for _, path := range taken {
		before, _ := os.Lstat(path)
		if _, _, err := listenUnix(&Listener{Address: path, Mode: 0o600}); err == nil {
			t.Errorf("%s was replaced", path)
		}
		if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
			t.Errorf("%s is another: %v", path, err)
		}
	}
	socket, remove, err := listenUnix(&Listener{Address: stale, Mode: 0o600})
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	socket.Close()
	remove()
}

// busySocket is one whose process lets connections wait, as many as there may.
func busySocket(t *testing.T, dir string) string {
	path := filepath.Join(dir, "busy")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return path
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("it is never busy")
	return ""
}
