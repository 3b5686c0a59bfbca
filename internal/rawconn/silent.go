//go:build unix

package rawconn

// Silent reports whether the other end of an open socket has neither closed it nor said
// anything. It never waits.
func Silent(fd uintptr) bool { return silent(fd) }
