package supervise

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// User is whom a program runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary; replaces ours
	Name     string   // login name; "" if the number has no entry
	Home     string   // home directory; "" if unknown
}

// LookupUser reads "user" or "user:group", each a name or a number. Without a
// group the user's own group and all supplementary groups are taken; a number
// without an entry stands for itself, and for its group. With a group only that one is.
func LookupUser(text string) (*User, error) {
	name, group, withGroup := strings.Cut(text, ":")
	if name == "" || withGroup && group == "" {
		return nil, fmt.Errorf("user %q: want user or user:group", text)
	}
	u := &User{}
	entry, err := user.Lookup(name)
	if err != nil {
		if n, nerr := parseID(name); nerr == nil {
			u.UID, u.GID = n, n
			entry, err = user.LookupId(name)
			if err != nil {
				entry = nil
			}
		} else {
			return nil, fmt.Errorf("look up user %q: %w", name, err)
		}
	}
	if entry != nil {
		if err := u.fill(entry, withGroup); err != nil {
			return nil, err
		}
	}
	if withGroup {
		if u.GID, err = lookupGroup(group); err != nil {
			return nil, err
		}
	}
	if withGroup || entry == nil {
		u.Groups = []uint32{u.GID}
	}
	return u, nil
}

func (u *User) fill(entry *user.User, withGroup bool) error {
	var err error
	u.Name, u.Home = entry.Username, entry.HomeDir
	if u.UID, err = parseID(entry.Uid); err != nil {
		return fmt.Errorf("user %q: %w", entry.Username, err)
	}
	if u.GID, err = parseID(entry.Gid); err != nil {
		return fmt.Errorf("user %q: %w", entry.Username, err)
	}
	if withGroup {
		return nil
	}
	ids, err := entry.GroupIds()
	if err != nil {
		return fmt.Errorf("look up groups of user %q: %w", entry.Username, err)
	}
	for _, id := range ids {
		n, err := parseID(id)
		if err != nil {
			return fmt.Errorf("groups of user %q: %w", entry.Username, err)
		}
		u.Groups = append(u.Groups, n)
	}
	return nil
}

// String names u for a reader.
func (u *User) String() string {
	if u.Name == "" {
		return fmt.Sprintf("user %d, group %d", u.UID, u.GID)
	}
	return fmt.Sprintf("user %s (%d), group %d", u.Name, u.UID, u.GID)
}

// Ours reports whether u is who we are, groups included: nothing has to be changed then.
func (u *User) Ours() bool {
	if int(u.UID) != os.Getuid() || int(u.UID) != os.Geteuid() || int(u.GID) != os.Getgid() || int(u.GID) != os.Getegid() {
		return false
	}
	list, err := os.Getgroups()
	ours, want := map[uint32]bool{u.GID: true}, map[uint32]bool{u.GID: true} // its own is a group of it either way
	for _, g := range list {
		ours[uint32(g)] = true //nolint:gosec // a group's number
	}
	for _, g := range u.Groups {
		want[g] = true
	}
	return err == nil && maps.Equal(ours, want)
}

func lookupGroup(name string) (uint32, error) {
	if n, err := parseID(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("look up group %q: %w", name, err)
	}
	return parseID(g.Gid)
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return uint32(n), nil
}
