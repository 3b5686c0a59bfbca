//go:build unix

package sink

import "os"

func chown(f *os.File, uid, gid int) error {
	if uid == Keep && gid == Keep {
		return nil
	}
	return f.Chown(uid, gid)
}
