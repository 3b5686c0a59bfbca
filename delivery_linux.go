package main

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/environ"
)

// memoryDir finds a directory on tmpfs that we may write to: what is there is never on disk.
func memoryDir(env environ.Environ) (string, error) {
	var places []string
	for _, name := range []string{"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"} {
		value, _ := env.Get(name)
		places = append(places, firstOf(value))
	}
	for _, dir := range append(places, "/run", "/dev/shm") {
		var fs unix.Statfs_t
		if dir == "" || unix.Statfs(dir, &fs) != nil || fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
			continue
		}
		if unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir, nil
		}
	}
	return "", errors.New("delivery as a file needs a writable directory in memory (tmpfs) at $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run or /dev/shm: mount one, or deliver as memfd")
}
