//go:build unix

package envtemplate

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// owner is who a file shall belong to; -1 = not said.
type owner struct {
	uid, gid int
	old      *syscall.Stat_t // who the file belongs to now, kept where nothing is said
}

func lookupOwner(name, group string) (owner, error) {
	o := owner{uid: -1, gid: -1}
	var err error
	if name != "" {
		if o.uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return o, err
			}
			o.uid, _ = strconv.Atoi(u.Uid)
		}
	}
	if group != "" {
		if o.gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return o, err
			}
			o.gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return o, nil
}

// has reports whether a file belongs to whom it shall.
func (o *owner) has(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (o.uid < 0 || int(st.Uid) == o.uid) && (o.gid < 0 || int(st.Gid) == o.gid)
}

func (o *owner) keep(info fs.FileInfo) { o.old, _ = info.Sys().(*syscall.Stat_t) }

// give makes f belong to whom it shall. Keeping the old owner is tried only.
func (o owner) give(f *os.File) error {
	if o.old != nil {
		if int(o.old.Uid) != os.Getuid() || int(o.old.Gid) != os.Getgid() {
			_ = f.Chown(int(o.old.Uid), int(o.old.Gid))
		}
	}
	if o.uid < 0 && o.gid < 0 {
		return nil
	}
	if err := f.Chown(o.uid, o.gid); err != nil {
		return fmt.Errorf("give it to its owner: %w", err)
	}
	return nil
}
