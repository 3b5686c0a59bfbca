// Package rawconn reads and writes sockets without telling Go's scheduler. A socket of
// Go's never blocks, but each system call that is told wakes the scheduler's monitor thread
// when everything else waits. A proxy waits for Vault nearly all the time: it is a quarter
// of its processor time. Elsewhere than on Linux connections are as they were.
package rawconn

import (
	"context"
	"net"
)

// Of returns what reads and writes conn for less when it is a bare TCP or unix socket, else
// conn itself. The caller closes one of them.
func Of(conn net.Conn) net.Conn { return of(conn) }

// Dialer is a net.Dialer whose connections are raw.
type Dialer struct{ net.Dialer }

// DialContext is net.Dialer's.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return Of(conn), nil
}

// Dial is DialContext without an end.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}
