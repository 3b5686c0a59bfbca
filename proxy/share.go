package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// Shared is a bound socket for a proxy that takes this one's place: both have it, and no
// connection is refused in between.
type Shared struct {
	Network, Address string // as in the Listener
	Socket           net.Listener
	Remove           func() // takes a unix socket's file away
}

// Share returns another descriptor of every bound socket. The caller hands them to a new
// Proxy's listeners, and tells with Leave which of them, or closes them.
func (p *Proxy) Share() ([]Shared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Shared
	for _, b := range p.bound {
		socket, err := again(b.socket)
		if err != nil {
			for _, s := range out {
				_ = s.Socket.Close()
			}
			return nil, fmt.Errorf("share %s: %w", b.address, err)
		}
		out = append(out, Shared{b.network, b.address, socket, b.remove})
	}
	return out, nil
}

// Leave says that the sockets at these addresses are another proxy's now: this one's end
// leaves their files in place.
func (p *Proxy) Leave(addresses ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.bound {
		if slices.Contains(addresses, b.address) {
			b.left.Store(true)
		}
	}
}

// GiveUp closes the sockets at once, so that their addresses are free, after the context of
// Run has ended. Open connections may go on for a little.
func (p *Proxy) GiveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.bound {
		_ = b.socket.Close()
		b.end()
	}
}

// handedOver reports whether another proxy has one of the sockets.
func (p *Proxy) handedOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.bound, func(b *bound) bool { return b.left.Load() })
}

// Close gives up what Bind opened, when Run will not be called.
func (p *Proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.doors {
		_ = d.socket.Close()
		if d.listener.Socket == nil { // else the file is the other proxy's
			d.remove()
		}
	}
	p.doors, p.bound = nil, nil
}

// bound is a socket of ours.
type bound struct {
	network, address string
	socket           net.Listener
	remove           func()
	left             atomic.Bool
	ended            sync.Once
}

// end takes the file away unless another proxy has the socket.
func (b *bound) end() {
	b.ended.Do(func() {
		if !b.left.Load() {
			b.remove()
		}
	})
}

// again is a second descriptor of a listening socket.
func again(l net.Listener) (net.Listener, error) {
	filer, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errors.New("this kind of socket cannot be shared")
	}
	f, err := filer.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}
