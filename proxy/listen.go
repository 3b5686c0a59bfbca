package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
)

// door is one bound listener and its server.
type door struct {
	listener *Listener
	socket   net.Listener
	server   *http.Server
	remove   func() // takes a unix socket's file away
}

// Bind opens all listeners, or none: all problems are joined.
func (p *Proxy) Bind() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doors != nil {
		return nil
	}
	adminElsewhere := false
	for i := range p.cfg.Listeners {
		adminElsewhere = adminElsewhere || p.cfg.Listeners[i].Role == RoleAdmin
	}
	var errs []error
	for i := range p.cfg.Listeners {
		l := &p.cfg.Listeners[i]
		d, err := p.bind(l, adminElsewhere)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen on %s: %w", l.Address, err))
			continue
		}
		p.doors = append(p.doors, d)
	}
	if len(errs) == 0 {
		return nil
	}
	for _, d := range p.doors {
		_ = d.socket.Close()
		d.remove()
	}
	p.doors, p.tls, p.bound = nil, nil, nil
	return errors.Join(errs...)
}

func (p *Proxy) bind(l *Listener, adminElsewhere bool) (*door, error) {
	d := &door{listener: l, socket: l.Socket, remove: func() {}}
	gate := p.newGate(l, adminElsewhere)
	d.server = &http.Server{
		Handler: gate, ReadHeaderTimeout: l.ReadHeaderTimeout, IdleTimeout: l.IdleTimeout,
		MaxHeaderBytes: l.MaxHeaderBytes, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		Protocols: new(http.Protocols),
	}
	d.server.Protocols.SetHTTP1(true)
	d.server.Protocols.SetHTTP2(true)
	d.server.Protocols.SetUnencryptedHTTP2(true)
	if l.TLS != nil {
		certs, err := newCertificates(l.TLS, p.log)
		if err != nil {
			return nil, err
		}
		d.server.TLSConfig = certs.config
		p.tls = append(p.tls, certs)
	}
	var err error
	switch {
	case d.socket != nil:
		if l.Remove != nil {
			d.remove = l.Remove
		}
		if l.Network == "unix" && !strings.HasPrefix(l.Address, "@") {
			err = dress(l.Address, l)
		}
	case l.Network == "unix":
		d.socket, d.remove, err = listenUnix(l)
	default:
		network := "tcp"
		if strings.HasPrefix(l.Address, "0.0.0.0:") {
			network = "tcp4"
		}
		d.socket, err = (&net.ListenConfig{}).Listen(context.Background(), network, l.Address)
	}
	if err != nil {
		return nil, err
	}
	own := &bound{network: l.Network, address: l.Address, socket: d.socket, remove: d.remove}
	d.remove = own.end
	if l.Network == "unix" && len(l.AllowUsers) > 0 {
		ids, err := userIDs(l.AllowUsers)
		if err != nil {
			_ = d.socket.Close()
			d.remove()
			return nil, err
		}
		d.socket = &peerListener{Listener: d.socket, allowed: ids, log: p.log}
	}
	p.bound = append(p.bound, own)
	d.socket = &stallListener{d.socket, l.StallTimeout}
	if l.MaxConnections > 0 {
		d.socket = &crowdListener{Listener: d.socket, places: make(chan struct{}, l.MaxConnections)}
	}
	if p.cache != nil && gate.vault && l.TLS == nil {
		d.socket = &hitListener{d.socket, gate}
		d.server.ConnState = func(conn net.Conn, s http.ConnState) { conn.(*hitConn).state(s) }
	}
	return d, nil
}

func (d *door) serve() error {
	if d.listener.TLS != nil {
		return d.server.ServeTLS(d.socket, "", "")
	}
	return d.server.Serve(d.socket)
}

// Addresses returns where the bound listeners really listen, as values for
// VAULT_ADDR, in the order of Config.Listeners. Empty before Bind and after Run began.
func (p *Proxy) Addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, d := range p.doors {
		switch {
		case d.listener.Network == "unix":
			out = append(out, "unix://"+d.listener.Address)
		case d.listener.TLS != nil:
			out = append(out, "https://"+d.socket.Addr().String())
		default:
			out = append(out, "http://"+d.socket.Addr().String())
		}
	}
	return out
}

// Reload reads the certificates of all TLS listeners anew. A pair that cannot be
// used leaves the old one in place; all problems are joined.
func (p *Proxy) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.tls {
		errs = append(errs, c.load())
	}
	return errors.Join(errs...)
}

// peerListener admits only processes of certain users.
type peerListener struct {
	net.Listener
	allowed map[uint32]bool
	log     *slog.Logger
}

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUser(conn)
		if err == nil && l.allowed[uid] {
			return conn, nil
		}
		l.log.Warn("connection refused: its user is not allowed", "uid", uid)
		_ = conn.Close()
	}
}

// crowdListener bounds the connections at once.
type crowdListener struct {
	net.Listener
	places chan struct{}
}

func (l *crowdListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &crowdConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			_ = conn.Close()
		}
	}
}

type crowdConn struct {
	net.Conn
	leave func()
}

func (c *crowdConn) CloseWrite() error { return c.Conn.(*stallConn).CloseWrite() }

func (c *crowdConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
