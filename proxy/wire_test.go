package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// accept serves each connection with handle, which gets its number, until the test ends.
func accept(t testing.TB, handle func(n int, conn net.Conn, r *bufio.Reader)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); handle(n, conn, bufio.NewReader(conn)) }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// dialsTLS has the client shake hands itself, for HTTP/1.1, as envexec's does. The
// settings it returns may be changed until the first request.
func dialsTLS(c *Config) *tls.Config {
	transport := c.Client.CloneConfig().HttpClient.Transport.(*http.Transport)
	settings := transport.TLSClientConfig.Clone()
	settings.NextProtos = []string{"http/1.1"}
	transport.DialTLSContext = (&tls.Dialer{Config: settings}).DialContext
	return settings
}

// TestADeadConnectionCostsNoRequest: Vault closed an idle connection; the next
// request, whatever its method, goes over a new one, and once.
func TestADeadConnectionCostsNoRequest(t *testing.T) {
	if !linesKnown {
		t.Skip("this system cannot tell")
	}
	for _, method := range []string{"GET", "POST"} {
		closed := make(chan struct{}, 10)
		var answered atomic.Int32
		r := start(t, accept(t, func(_ int, conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			answered.Add(1)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			conn.Close()
			closed <- struct{}{}
		}), func(c *Config) { c.Retries = -1 })
		for range 5 {
			if a := r.ask(t, method, "/v1/x", "{}"); a.status != 200 || a.body != "ok" {
				t.Errorf("%s over a dead connection: %d %s", method, a.status, a.body)
			}
			<-closed
			for began := time.Now(); quietLines(r) > 0; { // until the news of it is here
				if time.Since(began) > idleLife/2 {
					t.Fatal("a closed connection is taken for a living one")
				}
			}
		}
		if answered.Load() != 5 {
			t.Errorf("%s: vault got %d requests, want 5", method, answered.Load())
		}
	}
}

func quietLines(r *rig) (n int) {
	w := r.upstream.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.idle {
		if l.quiet() {
			n++
		}
	}
	return n
}

// TestABrokenConnectionRepeatsOnlyReads: the connection dies with the request on it.
func TestABrokenConnectionRepeatsOnlyReads(t *testing.T) {
	for method, want := range map[string]int32{"GET": 200, "LIST": 200, "POST": 502, "DELETE": 502} {
		var got atomic.Int32
		r := start(t, accept(t, func(n int, conn net.Conn, in *bufio.Reader) {
			for i := 0; ; i++ {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				if req.URL.Path != "/v1/first" {
					got.Add(1)
				}
				if n == 0 && i == 1 {
					return
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}), func(c *Config) { c.Retries = -1 })
		r.ask(t, "GET", "/v1/first", "")
		a := r.ask(t, method, "/v1/x", "")
		sent := int32(1)
		if want == 200 {
			sent = 2
		}
		if int32(a.status) != want || got.Load() != sent {
			t.Errorf("%s: answered %d after %d requests, want %d after %d", method, a.status, got.Load(), want, sent)
		}
	}
}

// TestAnswersOfEveryForm: what HTTP/1.1 allows a server to say.
func TestAnswersOfEveryForm(t *testing.T) {
	for _, tt := range []struct {
		name, method, raw string
		status            int
		body              string
		header            [2]string
	}{
		{name: "length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", status: 200, body: "abc", header: [2]string{"Content-Type", ""}},
		{name: "chunks", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", status: 200, body: "abc"},
		{name: "until the end", raw: "HTTP/1.0 200 OK\r\n\r\nabc", status: 200, body: "abc"},
		{name: "nothing", raw: "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", status: 204, header: [2]string{"X-A", "b"}},
		{name: "not modified", raw: "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", status: 304, header: [2]string{"Etag", `"x"`}},
		{name: "head", method: "HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", status: 200, header: [2]string{"Content-Length", "3"}},
		{name: "interim", raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", status: 200, body: "a"},
		{name: "without end", raw: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), status: 502},
		{name: "an upgrade nobody asked for", raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", status: 502},
		{name: "no HTTP", raw: "SSH-2.0-OpenSSH\r\n", status: 502},
		{name: "two lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc", status: 502},
		{name: "a header without end", raw: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxHeader), status: 502},
		{name: "silence", raw: "", status: 502},
		{name: "more than it said", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", status: 200, body: "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, accept(t, func(_ int, conn net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err == nil {
					io.WriteString(conn, tt.raw)
				}
			}), func(c *Config) { c.Retries = -1 })
			method := tt.method
			if method == "" {
				method = "GET"
			}
			for range 2 { // whatever was left over must not meet the next
				a := r.ask(t, method, "/v1/x", "")
				if a.status != tt.status || tt.status == 200 && a.body != tt.body || tt.header[0] != "" && a.header.Get(tt.header[0]) != tt.header[1] {
					t.Errorf("the client got %d %v %q", a.status, a.header, a.body)
				}
			}
		})
	}
}

// TestConnectionsAreReusedAndGivenBack: also after a client left in the middle.
func TestConnectionsAreReusedAndGivenBack(t *testing.T) {
	var made atomic.Int32
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/slow" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, strings.Repeat("x", 100<<10))
	}))
	up.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	up.Start()
	t.Cleanup(up.Close)
	r := start(t, up.URL, nil)
	for range 20 {
		if a := r.ask(t, "PUT", "/v1/x", "{}"); len(a.body) != 100<<10 {
			t.Fatalf("%d bytes", len(a.body))
		}
	}
	if made.Load() != 1 {
		t.Errorf("20 requests one after the other took %d connections", made.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/v1/slow", nil)
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("the answer ended with %v", err)
	}
	resp.Body.Close()
	if a := r.ask(t, "GET", "/v1/x", ""); len(a.body) != 100<<10 {
		t.Errorf("after a client left: %d %d bytes", a.status, len(a.body))
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	w := &wire{}
	old, fresh := &line{conn: nothing{}}, &line{conn: nothing{}}
	w.keep(old)
	old.since = time.Now().Add(-idleLife)
	w.keep(fresh)
	w.reap()
	if len(w.idle) != 1 || w.idle[0] != fresh {
		t.Errorf("%d connections left", len(w.idle))
	}
	w.close()
	w.keep(old)
	if len(w.idle) != 0 {
		t.Error("a closed pool keeps connections")
	}
}

// nothing is a connection that only closes.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }

// TestVaultOverUnixAndTLS: the same road over the other transports.
func TestVaultOverUnixAndTLS(t *testing.T) {
	say := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, r.RequestURI, r.Proto) })
	if HasUnixSockets() {
		path := filepath.Join(t.TempDir(), "vault.sock")
		socket, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		local := &http.Server{Handler: say}
		go local.Serve(socket)
		t.Cleanup(func() { local.Close() })
		r := start(t, "unix://"+path, nil)
		for range 2 {
			if a := r.ask(t, "GET", "/v1/a%2Fb", ""); a.body != "GET/v1/a%2FbHTTP/1.1" {
				t.Errorf("over a unix socket: %d %s", a.status, a.body)
			}
		}
	}

	up, trust := serveAs(t, true, say)
	r := start(t, up, trust)
	for range 3 {
		if a := r.ask(t, "GET", "/v1/a%2Fb", ""); a.body != "GET/v1/a%2FbHTTP/1.1" {
			t.Errorf("over TLS: %d %s", a.status, a.body)
		}
	}
	distrusting := start(t, up, func(c *Config) { dialsTLS(c) })
	if a := distrusting.ask(t, "POST", "/v1/x", ""); a.status != 502 {
		t.Errorf("an unknown authority was believed: %d", a.status)
	}
}
