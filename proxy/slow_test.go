package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// generous is when a test gives up on what should happen at once.
const generous = time.Minute

// TestABodyNobodyReadsIsNotWaitedForEither: the server reads what is left of a refused
// request's body before it answers, so a client that sends none must be left as well.
func TestABodyNobodyReadsIsNotWaitedForEither(t *testing.T) {
	up := serve(t, func(http.ResponseWriter, *http.Request) {})
	r := start(t, up, func(c *Config) {
		c.Listeners[0].StallTimeout, c.Listeners[0].RequireHeader, c.Cache = time.Second, true, &Cache{}
	})
	for _, head := range []string{
		"POST /v1/x HTTP/1.1\r\nContent-Length: 1000\r\n", "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
		"POST /proxy/v1/none HTTP/1.1\r\nX-Vault-Request: true\r\nContent-Length: 1000\r\n",
		"POST /proxy/v1/cache-clear HTTP/1.1\r\nX-Vault-Request: true\r\nContent-Length: 1000\r\n",
		"POST /proxy/v1/metrics HTTP/1.1\r\nX-Vault-Request: true\r\nContent-Length: 1000\r\n",
		"CONNECT x:1 HTTP/1.1\r\nContent-Length: 1000\r\n",
	} {
		conn := dialed(t, r.url)
		io.WriteString(conn, head+"Host: x\r\n\r\n")
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q is waited for: %v", head, err)
		}
	}
}

// TestHTTP2ClientsThatTakeNothingAreLeft: they hold back by the protocol's own window, not the connection's.
func TestHTTP2ClientsThatTakeNothingAreLeft(t *testing.T) {
	left := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(left)
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	r := start(t, up, func(c *Config) { c.Listeners[0].StallTimeout = time.Second })
	h2(t, r.url, ":method", "GET", ":path", "/v1/sys/storage/raft/snapshot", ":scheme", "http", ":authority", "x")
	select {
	case <-left:
	case <-time.After(generous):
		t.Error("a client that takes nothing holds its request at vault")
	}
}

// TestHTTP2RequestsBecomeOneOfHTTP1: what is no letter of a request line there is none here.
func TestHTTP2RequestsBecomeOneOfHTTP1(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
	})
	for _, child := range []bool{false, true} {
		r := start(t, up, func(c *Config) {
			if child {
				c.AutoAuth, c.Child = true, &Child{Token: NewChildToken(), Paths: []string{"secret/data/a b"}}
			}
		})
		r.login("session", 1)
		for _, tt := range []struct {
			method, path, want string
			status             string
		}{
			{"GET", "/v1/secret/data/a b", "GET /v1/secret/data/a b?", "200"},
			{"GET", "/v1/secret/data/a b?c d", "GET /v1/secret/data/a b?c%20d", "200"},
			{"GET /v1/y", "/v1/x", "", "405"}, {"GET /v1/y HTTP/1.1", "/v1/x", "", "405"},
		} {
			if child && tt.status != "200" {
				continue
			}
			pairs := []string{":method", tt.method, ":path", tt.path, ":scheme", "http", ":authority", "x"}
			if child {
				pairs = append(pairs, "x-vault-token", r.cfg.Child.Token.Reveal())
			}
			status, body := h2(t, r.url, pairs...)()
			if status != tt.status || tt.want != "" && body != tt.want {
				t.Errorf("%s %s: %s %s, want %s %s", tt.method, tt.path, status, body, tt.status, tt.want)
			}
		}
	}
}

func dialed(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(generous))
	return conn
}

// h2 sends one request with these header fields; the answer is read by calling what it returns.
func h2(t *testing.T, url string, pairs ...string) func() (status, body string) {
	t.Helper()
	conn := dialed(t, url)
	io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	return func() (status, body string) {
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Error(err)
				return status, body
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				status = frame.PseudoValue("status")
			case *http2.DataFrame:
				body += string(frame.Data())
			case *http2.RSTStreamFrame:
				return status, body
			}
			if frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().StreamID == 1 {
				return status, body
			}
		}
	}
}

// TestALongWriteMayTakeAnyTimeWhileItMoves: an answer from the cache is written at once.
func TestALongWriteMayTakeAnyTimeWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		var reader sync.WaitGroup
		defer reader.Wait()
		defer ours.Close()
		reader.Go(func() {
			for b := make([]byte, maxStallWrite); ; time.Sleep(900 * time.Millisecond) {
				if n, err := io.ReadFull(theirs, b); n == 0 || err != nil {
					return
				}
			}
		})
		c := &stallConn{ours, time.Second}
		if n, err := c.Write(make([]byte, 10*maxStallWrite)); n != 10*maxStallWrite || err != nil {
			t.Errorf("wrote %d bytes, %v to a slow client", n, err)
		}
		_ = theirs.Close()
		if n, err := c.Write(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("wrote %d bytes, %v to one that left", n, err)
		}
	})
}
