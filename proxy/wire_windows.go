package proxy

import "net"

// Windows cannot look into a connection without reading from it.
const linesKnown = false

func quiet(net.Conn) bool { return false }
