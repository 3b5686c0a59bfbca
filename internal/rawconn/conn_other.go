//go:build !linux

package rawconn

import "net"

// of returns conn: only Linux lets a program call it past Go's scheduler.
func of(conn net.Conn) net.Conn { return conn }
