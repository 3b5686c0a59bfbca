package proxy

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"time"
)

// vacant reports why path may not be taken: a file that is no socket, or one that answers.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("the path is taken by a file that is no socket")
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return errors.New("another process is listening there")
	}
	return nil // left behind
}
