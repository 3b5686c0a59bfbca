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
// in between, or this system cannot tell whether an idle connection still lives.
func newWire(t *http.Transport, base *url.URL) *wire {
	if !linesKnown || t.DisableKeepAlives || t.MaxIdleConnsPerHost < 0 {
		return nil
	}
	if t.Proxy != nil {
		if between, err := t.Proxy(&http.Request{URL: base}); err != nil || between != nil {
			return nil
		}
	}
	secure := base.Scheme == "https"
	port := "80"
	if secure {
		port = "443"
	}
	address := net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), port))
	open := t.DialContext
	if open == nil {
		open = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
	}
	if secure && t.DialTLSContext != nil {
		open = t.DialTLSContext
	}
	w := &wire{dial: func(ctx context.Context) (net.Conn, error) { return open(ctx, "tcp", address) }}
	switch {
	case secure && t.DialTLSContext != nil:
		w.dial = w.dial.checked()
	case secure:
		w.dial = w.dial.secured(t, base.Hostname())
	}
	return w
}

// secured shakes hands as t would, for HTTP/1.1.
func (d dial) secured(t *http.Transport, host string) dial {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLSClientConfig != nil {
		settings = t.TLSClientConfig.Clone()
	}
	settings.NextProtos = []string{"http/1.1"}
	settings.ServerName = cmp.Or(settings.ServerName, host)
	if settings.ClientSessionCache == nil {
		settings.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	limit := cmp.Or(t.TLSHandshakeTimeout, dialTimeout)
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := d(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		secure := tls.Client(conn, settings)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
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
