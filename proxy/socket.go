package proxy

import (
	"errors"
	"fmt"
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
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("another process is listening there")
	case leftBehind(err) || errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("another process may be listening there: %w", err) // it is busy, or not for us
}
