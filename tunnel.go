package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/rawconn"
)

// dialPatience bounds a connection to Vault until its first request.
const dialPatience = 30 * time.Second

// tunnel makes the TLS connections to Vault, also through a proxy: http.Transport would use
// the certificates of its start for those, not the files of today.
type tunnel struct {
	proxy  func(*url.URL) (*url.URL, error) // nil URL = none
	dialer *rawconn.Dialer
	tls    func() (*tls.Config, error)
}

func newTunnel(v config.Vault, inherited environ.Environ, protocols ...string) (*tunnel, error) {
	by, err := proxyFunc(v.ProxyAddress, inherited)
	return &tunnel{proxy: by, dialer: &rawconn.Dialer{Dialer: net.Dialer{Timeout: dialPatience, KeepAlive: 30 * time.Second}}, tls: tlsFiles{v, protocols}.config}, err
}

// forPlain is http.Transport's Proxy: it does what needs no tunnel.
func (t *tunnel) forPlain(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "https" {
		return nil, nil
	}
	return t.proxy(r.URL)
}

// dialTLS is http.Transport's DialTLSContext.
func (t *tunnel) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	cfg, err := t.tls()
	if err != nil {
		return nil, err
	}
	return t.dialWith(ctx, network, addr, cfg)
}

func (t *tunnel) dialWith(ctx context.Context, network, addr string, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, err := t.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return handshake(ctx, conn, addr, cfg)
}

func (t *tunnel) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	by, err := t.proxy(&url.URL{Scheme: "https", Host: addr})
	if err != nil || by == nil {
		if err != nil {
			return nil, fmt.Errorf("choose the proxy for %s: %w", addr, err)
		}
		return t.dialer.DialContext(ctx, network, addr)
	}
	if by.Scheme == "socks5" || by.Scheme == "socks5h" {
		socks, err := proxy.FromURL(by, t.dialer)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", by.Redacted(), err)
		}
		return socks.(proxy.ContextDialer).DialContext(ctx, network, addr) // that is what FromURL makes
	}
	conn, err := t.toProxy(ctx, network, by)
	if err == nil {
		err = connect(ctx, conn, by, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", by.Redacted(), err)
	}
	return conn, nil
}

func (t *tunnel) toProxy(ctx context.Context, network string, by *url.URL) (net.Conn, error) {
	port := by.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[by.Scheme]
	}
	addr := net.JoinHostPort(by.Hostname(), port)
	conn, err := t.dialer.DialContext(ctx, network, addr)
	if err != nil || by.Scheme != "https" {
		return conn, err
	}
	cfg, err := t.tls()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	cfg.ServerName, cfg.NextProtos = "", nil // those are Vault's
	return handshake(ctx, conn, addr, cfg)
}

// connect has a proxy open the way to addr; on an error conn is closed.
func connect(ctx context.Context, conn net.Conn, by *url.URL, addr string) (err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := by.User; u != nil {
		password, _ := u.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := r.Write(conn); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), r) //nolint:bodyclose // of CONNECT it is the connection
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("no way to %s: %s", addr, answer.Status)
	}
	return nil
}

// handshake makes conn a TLS connection to addr; on an error it is closed.
func handshake(ctx context.Context, conn net.Conn, addr string, cfg *tls.Config) (net.Conn, error) {
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}
