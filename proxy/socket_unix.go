//go:build unix

package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// HasUnixSockets reports whether this system has them.
func HasUnixSockets() bool { return true }

// maxSocketPath is how many bytes the address of a unix socket takes.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenUnix opens a unix socket. It gets its mode and owner in a private directory
// before it appears at its path, so nobody can connect too early.
func listenUnix(l *Listener) (net.Listener, func(), error) {
	if strings.HasPrefix(l.Address, "@") {
		socket, err := net.Listen("unix", l.Address)
		return socket, func() {}, err
	}
	if len(l.Address) > maxSocketPath {
		return nil, nil, fmt.Errorf("a socket's path has at most %d bytes, this one has %d", maxSocketPath, len(l.Address))
	}
	if err := vacant(l.Address); err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(l.Address), ".envexec-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "s")
	if len(path) > maxSocketPath && runtime.GOOS == "linux" { // its place will be shorter
		opened, err := os.Open(dir)
		if err != nil {
			return nil, nil, err
		}
		defer opened.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/s", opened.Fd())
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	socket.SetUnlinkOnClose(false)
	err = dress(path, l)
	if err == nil {
		err = os.Rename(path, l.Address)
	}
	var made fs.FileInfo
	if err == nil {
		made, err = os.Lstat(l.Address)
	}
	if err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	return socket, func() {
		if now, err := os.Lstat(l.Address); err == nil && os.SameFile(made, now) {
			_ = os.Remove(l.Address)
		}
	}, nil
}

// leftBehind reports whether a failed connection shows that nobody has the socket any more.
func leftBehind(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// dress gives the socket its mode, owner and group, each alone.
func dress(path string, l *Listener) error {
	uid, gid := -1, -1
	if l.User != "" {
		id, err := userID(l.User)
		if err != nil {
			return err
		}
		uid = int(id)
	}
	if l.Group != "" {
		id, err := groupID(l.Group)
		if err != nil {
			return err
		}
		gid = id
	}
	if err := os.Chmod(path, fs.FileMode(l.Mode)); err != nil {
		return err
	}
	if uid < 0 && gid < 0 {
		return nil
	}
	return os.Lchown(path, uid, gid)
}

func userID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("look up user: %w", err)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err
}

func groupID(name string) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("look up group: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

func userIDs(names []string) (map[uint32]bool, error) {
	ids := make(map[uint32]bool, len(names))
	for _, name := range names {
		id, err := userID(name)
		if err != nil {
			return nil, err
		}
		ids[id] = true
	}
	return ids, nil
}
