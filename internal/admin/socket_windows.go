package admin

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"

	"github.com/envexec/envexec/internal/files"
)

const suffix = ".sock"

func path(dir string, pid int) string {
	return filepath.Join(dir, "envexec", strconv.Itoa(pid)+suffix)
}

func listen(dir string) (net.Listener, error) {
	p := path(dir, os.Getpid())
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return nil, err
	}
	_ = os.Remove(p) // a dead process of the same number left it
	return bind(p)
}

// bind opens a unix socket that only we and administrators may use; on a Windows
// that has none, a port of the loopback, with address and password in a file that only
// we and administrators may read.
func bind(path string) (net.Listener, error) {
	ln, err := files.ListenPrivate(path)
	if errors.Is(err, windows.WSAEAFNOSUPPORT) {
		return listenLoopback(path)
	}
	return ln, err
}

// bound reports whether bind has made what is at path.
func bound(path string) bool {
	info, err := os.Lstat(path)
	_, _, ok := loopback(path)
	return ok || err == nil && info.Mode()&fs.ModeSocket != 0
}

// guarded is a listener whose clients have to know a password.
type guarded struct {
	net.Listener
	file, password string
}

type guardedConn struct {
	net.Conn
	password string
}

func listenLoopback(file string) (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &guarded{Listener: ln, file: file, password: rand.Text()}
	f, err := files.OpenPrivate(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err == nil {
		_, err = fmt.Fprintln(f, ln.Addr(), g.password)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return g, nil
}

func (g *guarded) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return guardedConn{conn, g.password}, nil
}

func (g *guarded) Close() error {
	_ = os.Remove(g.file)
	return g.Listener.Close()
}

// allowed asks for the password where rights of the file are not the check.
func allowed(conn net.Conn) error {
	g, ok := conn.(guardedConn)
	if !ok {
		return nil
	}
	said := make([]byte, len(g.password)+1)
	if _, err := io.ReadFull(conn, said); err != nil || subtle.ConstantTimeCompare(said, []byte(g.password+"\n")) != 1 {
		return errors.New("it does not know the password")
	}
	return nil
}

func dial(ctx context.Context, dir string, pid int) (net.Conn, error) {
	return connect(ctx, path(dir, pid))
}

// connect reaches what bind has opened.
func connect(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	address, password, ok := loopback(path)
	if !ok {
		return d.DialContext(ctx, "unix", path)
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(conn, password); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// loopback reads what listenLoopback has written; false for a unix socket, which cannot be read.
func loopback(file string) (address, password string, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", false
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	if err != nil {
		return "", "", false
	}
	address, password, ok = strings.Cut(strings.TrimSpace(line), " ")
	return address, password, ok && strings.HasPrefix(address, "127.0.0.1:")
}

func running(dir string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "envexec"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a running envexec: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(strings.TrimSuffix(e.Name(), suffix))
		if err != nil || !alive(pid) { // a killed process leaves its file behind
			continue
		}
		if conn, err := dial(context.Background(), dir, pid); err == nil {
			_ = conn.Close()
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func alive(pid int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	_ = windows.CloseHandle(h)
	return true
}
