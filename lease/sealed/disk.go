package sealed

import (
	"io"
	"os"
	"path/filepath"

	"github.com/envexec/envexec/internal/files"
)

// disk is what the file system does for us: a seam, so that tests can stop it at any byte.
type disk struct {
	create func(path string) (handle, error) // must not be there; 0600
	extend func(path string) (handle, error) // writes go to the end
	rename func(from, to string) error       // durable when it returns
	remove func(path string) error
}

// handle is an open file.
type handle interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

func realDisk() disk {
	return disk{
		create: func(path string) (handle, error) {
			return files.OpenPrivate(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		},
		extend: extend,
		rename: func(from, to string) error {
			if err := files.Replace(from, to); err != nil {
				return err
			}
			return files.SyncDir(filepath.Dir(to))
		},
		remove: os.Remove,
	}
}
