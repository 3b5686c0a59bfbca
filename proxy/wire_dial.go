package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const dialTimeout = 30 * time.Second

// dial opens a connection on which HTTP/1.1 can be spoken.
type dial func(context.Context) (net.Conn, error)

// newWire connects to base as t does; nil when t must be used itself: there is a proxy
// in between, TLS is t's own affair, or this system cannot tell whether an idle
// connection still lives.
func newWire(t *http.Transport, base *url.URL) *wire {
	secure := base.Scheme == "https"
	if !linesKnown || t.DisableKeepAlives || t.MaxIdleConnsPerHost < 0 || secure && t.DialTLSContext == nil {
		return nil
	}
	if by, err := between(t, base); err != nil || by != nil {
		return nil
	}
	port, open := "80", t.DialContext
	if open == nil {
		open = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
	}
	if secure {
		port, open = "443", t.DialTLSContext
	}
	address := net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), port))
	w := &wire{dial: func(ctx context.Context) (net.Conn, error) { return open(ctx, "tcp", address) }}
	if secure {
		w.dial = w.dial.checked()
	}
	return w
}

// checked refuses a connection that turned out to speak something else.
func (d dial) checked() dial {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := d(ctx)
		if err != nil {
			return nil, err
		}
		if secure, ok := conn.(*tls.Conn); ok && cmp.Or(secure.ConnectionState().NegotiatedProtocol, "http/1.1") != "http/1.1" {
			_ = conn.Close()
			return nil, fmt.Errorf("vault's connection speaks %s, not HTTP/1.1", secure.ConnectionState().NegotiatedProtocol)
		}
		return conn, nil
	}
}

// open is d with errors that say that nothing was sent yet.
func (d dial) open(ctx context.Context) (net.Conn, error) {
	conn, err := d(ctx)
	if op, ok := errors.AsType[*net.OpError](err); err != nil && (!ok || op.Op != "dial") {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return conn, err
}
