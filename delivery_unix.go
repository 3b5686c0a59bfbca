//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockDir takes a directory of ours for as long as the file is open. Whatever else
// has been put in its place is an error.
func lockDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	err = errors.Join(unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB), unix.Fstat(fd, &st))
	if err == nil && int64(st.Uid) != int64(os.Geteuid()) {
		err = fs.ErrPermission
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// passOn lets the program we become hold the lock: the directory is its own then.
func (d *drop) passOn() error {
	_, err := unix.FcntlInt(d.lock.Fd(), unix.F_SETFD, 0)
	return err
}
