//go:build unix

package sink

import "os"

func chown(f *os.File, uid, gid int) error {
	if uid == Keep && gid == Keep {
		return nil
	}
	return f.Chown(uid, gid)
}

// syncDir makes the rename last. Not every file system can; the content is safe either way.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
