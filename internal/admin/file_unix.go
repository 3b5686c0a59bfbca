//go:build !windows

package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
)

// bind opens a socket file that only we may use.
func bind(path string) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// connect reaches what bind has opened.
func connect(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

// bound reports whether bind has made what is at path.
func bound(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSocket != 0
}
