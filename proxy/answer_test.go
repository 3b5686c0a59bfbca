package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// raw sends text to the proxy over a connection of its own and returns a reader of
// what comes back.
func (r *rig) raw(t testing.TB, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// TestAnswersKeepTheirLengthOrStream: what is here whole is sent with its length, what
// is not is sent as it comes.
func TestAnswersKeepTheirLengthOrStream(t *testing.T) {
	for _, size := range []int{0, 1, 3000, 30000, 100 << 10} {
		up := accept(t, func(_ int, conn net.Conn, in *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				var b bytes.Buffer
				b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for rest := size; rest > 0; {
					n := min(rest, 1000)
					fmt.Fprintf(&b, "%x\r\n%s\r\n", n, strings.Repeat("x", n))
					rest -= n
				}
				b.WriteString("0\r\n\r\n")
				conn.Write(b.Bytes())
			}
		})
		r := start(t, up, nil)
		for range 3 {
			resp, err := r.client.Get(r.url + "/v1/x")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || len(body) != size || resp.ContentLength >= 0 && resp.ContentLength != int64(size) || size <= 1 && linesKnown && resp.ContentLength != int64(size) { // net/http's transport does not say what has come
				t.Errorf("%d bytes in chunks: the client got %d, length %d, %v", size, len(body), resp.ContentLength, err)
			}
		}
	}
}

// TestABrokenAnswerIsNotTakenForWhole: Vault's end in the middle is the client's too.
func TestABrokenAnswerIsNotTakenForWhole(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{}",
	} {
		for _, cached := range []bool{false, true} {
			r := start(t, accept(t, func(_ int, conn net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err == nil {
					io.WriteString(conn, raw)
				}
			}), func(c *Config) {
				if cached {
					c.Cache = &Cache{StaticSecrets: true}
				}
			})
			for _, method := range []string{"GET", "POST"} {
				req, _ := http.NewRequestWithContext(t.Context(), method, r.url+"/v1/secret/data/a", nil)
				req.Header.Set("X-Vault-Token", "t")
				resp, err := r.client.Do(req)
				if err != nil {
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode == 200 {
					t.Errorf("%q, cache %t: the client took %q for all", raw, cached, body)
				}
			}
		}
	}
}

const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

// TestNoAnswerIsSmuggled: what a server says beyond its answer is never the answer to the
// next request, and no message with two meanings passes.
func TestNoAnswerIsSmuggled(t *testing.T) {
	for name, answer := range map[string]string{
		"after a length":           "Content-Length: 2\r\n\r\nok" + poison,
		"after chunks":             "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
		"a length and chunks":      "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
		"the same length twice":    "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok" + poison,
		"two lengths":              "Content-Length: 2\r\nContent-Length: 60\r\n\r\nok" + poison,
		"a signed length":          "Content-Length: +2\r\n\r\nok" + poison,
		"two codings":              "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
		"an unknown coding":        "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
		"a folded coding":          "Transfer-Encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison,
		"a length nobody can hold": "Content-Length: 99999999999999999999\r\n\r\nok" + poison,
		"a chunk nobody can hold":  "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok" + poison,
	} {
		t.Run(name, func(t *testing.T) { smuggle(t, answer, "") })
	}
}

// smuggle has a server answer the first request so, and say late on the same connection
// once the client has its answer. The next requests must get theirs.
func smuggle(t *testing.T, answer, late string) {
	t.Helper()
	said := make(chan struct{})
	r := start(t, accept(t, func(n int, conn net.Conn, in *bufio.Reader) {
		for i := 0; ; i++ {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if n > 0 || i > 0 {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
				continue
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+answer)
			if late != "" {
				<-said
				io.WriteString(conn, late)
				said <- struct{}{}
			}
		}
	}), func(c *Config) { c.Retries = -1 })
	req, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/first", nil)
	if resp, err := r.client.Do(req); err == nil {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if both := resp.Header["Content-Length"] != nil && len(resp.TransferEncoding) > 0; both || err == nil && resp.StatusCode != 502 && string(body) != "ok" {
			t.Errorf("the client got %d %v %q", resp.StatusCode, resp.Header, body)
		}
	}
	if late != "" {
		said <- struct{}{}
		<-said
	}
	for _, method := range []string{"POST", "GET"} {
		if a := r.ask(t, method, "/v1/next", ""); a.body != "next" {
			t.Errorf("the next request was answered %d %q", a.status, a.body)
		}
	}
}

// TestTrailersPass: both ways, where the client can take them.
func TestTrailersPass(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body), r.Trailer.Get("X-Asked")))
	})
	r := start(t, up, nil)
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", r.url+"/v1/x", io.LimitReader(strings.NewReader(strings.Repeat("x", maxReplay+1)), 1<<30))
	req.Trailer = http.Header{"X-Asked": {"yes"}}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := fmt.Sprint(maxReplay+1, "yes"); err != nil || len(body) != maxReplay+1 || resp.Trailer.Get("X-Sum") != want {
		t.Errorf("%d bytes, trailers %v, want %s, %v", len(body), resp.Trailer, want, err)
	}
	small, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/x", nil)
	if resp, err = r.client.Do(small); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.Trailer.Get("X-Sum") != "0" {
		t.Errorf("of an ordinary request: trailers %v, %v", resp.Trailer, err)
	}
}

// TestExpectations: a client that waits for leave to send a large body gets Vault's
// answer or Vault's leave, and Vault the body.
func TestExpectations(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/denied" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, r.Header.Get("Expect"))
	})
	r := start(t, up, nil)
	for _, tt := range []struct {
		path   string
		size   int
		leave  bool
		status int
	}{
		{"/v1/denied", maxReplay + 1, false, 403},
		{"/v1/taken", maxReplay + 1, true, 200},
		{"/v1/taken", 10, true, 200},
	} {
		conn, in := r.raw(t, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", tt.path, tt.size))
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if leave := resp.StatusCode == 100; leave != tt.leave {
			t.Errorf("%s, %d bytes: leave %t, status %d", tt.path, tt.size, leave, resp.StatusCode)
		} else if leave {
			io.WriteString(conn, strings.Repeat("x", tt.size))
			if resp, err = http.ReadResponse(in, nil); err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(body), fmt.Sprint(tt.size)) {
				t.Errorf("%s: vault read %s of %d bytes", tt.path, body, tt.size)
			}
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s, %d bytes: status %d, want %d", tt.path, tt.size, resp.StatusCode, tt.status)
		}
	}
}

// TestAnAnswerBeforeTheBodyWasRead reaches the client, and Vault's connection, on which
// the rest of the body may still be under way, is not used again.
func TestAnAnswerBeforeTheBodyWasRead(t *testing.T) {
	for _, size := range []int{10, maxReplay, 8 << 20} {
		var asked atomic.Int32
		r := start(t, accept(t, func(_ int, conn net.Conn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			asked.Add(1)
			io.WriteString(conn, "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, in)
		}), nil)
		for i := range 2 {
			if a := r.ask(t, "PUT", "/v1/x", strings.Repeat("x", size)); a.status != 413 || a.body != "big" || asked.Load() != int32(i+1) {
				t.Errorf("%d bytes: %d %q after %d requests", size, a.status, a.body, asked.Load())
			}
		}
	}
}

// FuzzAnswersOfVault: whatever a server says, a client reads the same through us as
// straight, or learns that something broke; and the next answer is untouched by it.
func FuzzAnswersOfVault(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 404 x\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 2\r\n\r\nabc",
		"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 307 x\r\nLocation: /v1/y\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	var said atomic.Pointer[[]byte]
	up := accept(f, func(_ int, conn net.Conn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if r.URL.Path != "/v1/said" {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
				continue
			}
			conn.Write(*said.Load())
			return
		}
	})
	through := start(f, up, func(c *Config) { c.Retries = -1 })
	straight := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, CheckRedirect: through.client.CheckRedirect}
	through.client.Transport.(*http.Transport).DisableCompression = true
	get := func(c *http.Client, base, path string) (status int, body string, err error) {
		resp, err := c.Get(base + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		all, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(all), err
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) > maxHeader {
			return
		}
		said.Store(&answer)
		status, body, err := get(straight, up, "/v1/said")
		gotStatus, gotBody, gotErr := get(through.client, through.url, "/v1/said")
		broken := gotErr != nil || gotStatus == http.StatusBadGateway
		switch {
		case err != nil && !broken:
			t.Errorf("%q: straight %v, through us %d %q", answer, err, gotStatus, gotBody)
		case err == nil && !broken && (gotStatus != status || gotBody != body):
			t.Errorf("%q: straight %d %q, through us %d %q", answer, status, body, gotStatus, gotBody)
		}
		if _, body, err := get(through.client, through.url, "/v1/next"); body != "next" {
			t.Errorf("after %q the next answer was %q, %v", answer, body, err)
		}
	})
}

// FuzzRequestsToVault: whatever a client sends, Vault never sees a request through us
// that it would not see straight.
func FuzzRequestsToVault(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/x?list=true HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /v1/y HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
		"POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: Content-Length, X-Vault-Token\r\nContent-Length: 1\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"LIST /v1/a%2F%0d%0aX:y/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\n",
		"GET http://y/v1/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	// see returns what Vault saw of text, sent to it straight or through us.
	see := func(t *testing.T, text []byte, straight bool) (all []string) {
		var mu sync.Mutex
		up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				all = append(all, fmt.Sprintf("%s %s?%s %v %q", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header["X-Vault-Token"], body))
			}
		}))
		defer up.Close() // waits for its handlers
		to := up.URL
		if !straight {
			r := start(t, up.URL, func(c *Config) { c.Retries = -1 })
			defer r.stop()
			to = r.url
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(text)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		return // what the deferred calls wait for still counts
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(bytes.ToLower(text), []byte("upgrade")) || len(text) > 1<<16 {
			return
		}
		straight := see(t, text, true)
		left := straight
		for _, one := range see(t, text, false) {
			i := slices.Index(left, one)
			if i < 0 {
				t.Fatalf("%q: vault saw %s through us, straight %q", text, one, straight)
			}
			left = left[i+1:]
		}
	})
}
