package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/net/dns/dnsmessage"
)

// httpProxy is an HTTP proxy on a free port, whose URL it writes to the file at. Each
// request's host, namespace, X-Team and X-Vault-Request go to the file log.
func httpProxy(at, log string) {
	ends()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	announce(at, "http://"+l.Addr().String())
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL = r.In.URL // absolute, as a proxy is asked
	}}
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's
		fmt.Fprintf(f, "%s %s namespace=%q team=%q\n", r.Method, r.URL.Path, r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Team"))
		forward.ServeHTTP(w, r)
	})))
}

// srvServer is a name server on address whose SRV record for every name is localhost with port.
func srvServer(address, port, at string) {
	ends()
	n, _ := strconv.Atoi(port)
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		panic(err)
	}
	announce(at, address)
	for buf := make([]byte, 1500); ; {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			panic(err)
		}
		var ask dnsmessage.Message
		if ask.Unpack(buf[:size]) != nil || len(ask.Questions) != 1 {
			continue
		}
		q := ask.Questions[0]
		answer := dnsmessage.Message{Header: dnsmessage.Header{ID: ask.ID, Response: true, Authoritative: true}, Questions: ask.Questions}
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		switch q.Type {
		case dnsmessage.TypeSRV:
			answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.SRVResource{
				Priority: 1, Port: uint16(n), Target: dnsmessage.MustNewName("localhost."), //nolint:gosec // a port
			}}}
		case dnsmessage.TypeA:
			answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: netip.MustParseAddr("127.0.0.1").As4()}}}
		}
		packed, err := answer.Pack()
		if err != nil {
			panic(err)
		}
		_, _ = conn.WriteTo(packed, from)
	}
}

// ends lets an interrupt end a helper: what this binary has registered before main would catch it.
func ends() { signal.Reset(os.Interrupt) }

// announce writes text to file in one step.
func announce(file, text string) {
	if err := os.WriteFile(file+".new", []byte(text+"\n"), 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		panic(err)
	}
}
