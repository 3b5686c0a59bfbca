package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// road is a server before a cache that holds a KV secret and a token, with or without hits
// answered before it.
type road struct {
	address string
	calls   atomic.Int64  // requests the server saw
	idle    chan struct{} // it waits for the next
	proxy   *Proxy
}

func newRoad(t testing.TB, hits bool) *road {
	t.Helper()
	var made atomic.Int64
	vault := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/v1/auth/token/lookup-self":
			fmt.Fprint(w, `{"data":{"id":"t","ttl":3600,"num_uses":0,"renewable":true,"type":"service","policies":["default"]}}`)
		case r.URL.Path == "/v1/auth/token/create" && len(body) > 0:
			fmt.Fprintf(w, `{"auth":{"client_token":"new%d","accessor":"a%d","lease_duration":360000,"renewable":true}}`, made.Add(1), made.Load())
		case r.URL.Path == "/v1/secret/data/app" && r.Method == http.MethodGet:
			fmt.Fprint(w, `{"mount_type":"kv","data":{"data":{"k":"v"},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z"}}}`)
		case r.URL.Path == "/v1/secret/data/large":
			fmt.Fprintf(w, `{"mount_type":"kv","data":{"data":{"k":%q},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z"}}}`, strings.Repeat("v", maxHit))
		default:
			fmt.Fprintf(w, `{"said":%q}`, r.Method+" "+r.RequestURI+" "+string(body))
		}
	})
	r := &road{idle: make(chan struct{}, 100), proxy: start(t, vault, func(c *Config) {
		c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour, TicketLife: time.Hour}
		c.AutoAuth, c.Lend = true, LendMissing
		c.Listeners[0].RequireHeader = true
	}).Proxy}
	(&rig{Proxy: r.proxy}).login("t", 1)
	gate := r.proxy.newGate(&r.proxy.cfg.Listeners[0], false)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = socket.Addr().String()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.calls.Add(1)
		gate.ServeHTTP(w, q)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	socket = &stallListener{socket, time.Minute}
	if hits {
		socket = &hitListener{socket, gate}
		server.ConnState = func(conn net.Conn, s http.ConnState) {
			if conn.(*hitConn).state(s); s == http.StateIdle {
				select {
				case r.idle <- struct{}{}:
				default:
				}
			}
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(socket) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	warm := read + read + create + strings.Replace(read, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	if got := r.say(t, time.Minute, warm); strings.Count(got, "HTTP/1.1 200") != 4 {
		t.Fatalf("the cache is not filled: %s", got)
	}
	r.calls.Store(0)
	for len(r.idle) > 0 {
		<-r.idle
	}
	return r
}

const (
	head   = " HTTP/1.1\r\nHost: vault:8200\r\nX-Vault-Request: true\r\n"
	read   = "GET /v1/secret/data/app" + head + "\r\n"
	create = "POST /v1/auth/token/create" + head + "Content-Length: 14\r\n\r\n" + `{"ttl":"100h"}`
	other  = "GET /v1/sys/other" + head + "\r\n"
	last   = "GET /v1/sys/last" + head + "Connection: close\r\n\r\n"
)

// lull is how long a part may stay without an answer before the next is sent.
const lull = 50 * time.Millisecond

// say sends parts, each when something of an answer to the one before has come or none is
// coming, and returns all that comes back, but for what differs between two runs. Nothing
// for patience is the end.
func (r *road) say(t testing.TB, patience time.Duration, parts ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	came := make(chan struct{}, 1)
	go func() {
		for _, part := range parts {
			if _, err := io.WriteString(conn, part); err != nil {
				return
			}
			select {
			case <-came:
			case <-time.After(lull):
			}
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	in, out := bufio.NewReader(conn), &strings.Builder{}
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return out.String()
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		dated := resp.Header.Get("Date") != ""
		for _, name := range []string{"Date", "Age"} {
			resp.Header.Del(name)
		}
		fmt.Fprintf(out, "%s %s dated %v %v %s\n", resp.Proto, resp.Status, dated, resp.Header, ticking.ReplaceAll(body, nil))
		select {
		case came <- struct{}{}:
		default:
		}
	}
}

var ticking = regexp.MustCompile(`"lease_duration":[0-9]+`)

// talk sends each part when the server waits for it, after the answer to the one before.
func (r *road) talk(t testing.TB, parts ...string) (answers []string) {
	t.Helper()
	ask := r.dial(t)
	for _, part := range parts {
		answer, _ := ask(part)
		answers = append(answers, answer)
	}
	return answers
}

// dial opens a connection. last: the answer is the last on it.
func (r *road) dial(t testing.TB) (ask func(part string) (answer string, last bool)) {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	return func(part string) (string, bool) {
		t.Helper()
		calls := r.calls.Load()
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if r.calls.Load() != calls && !resp.Close {
			<-r.idle
		}
		return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Cache"), " ", string(body)), resp.Close
	}
}

func TestHitsAreAnsweredBeforeTheServer(t *testing.T) {
	r := newRoad(t, true)
	answers := r.talk(t, read, read, create, read, other, read, create)
	for i, want := range []string{"200 HIT", "200 HIT", "200 HIT", "200 HIT", "200 MISS", "200 HIT", "200 HIT"} {
		if !strings.HasPrefix(answers[i], want) {
			t.Errorf("answer %d is %q, want %s", i, answers[i], want)
		}
	}
	if n := r.calls.Load(); n != 2 { // the first of a connection, and the miss
		t.Errorf("the server saw %d of 7 requests, want 2", n)
	}
	if got := r.proxy.Stats().Requests; got != 4+7 {
		t.Errorf("%d requests are counted, want 11", got)
	}
}

// TestLargeHitsAreTheServers: it waits for those that are under way when it ends.
func TestLargeHitsAreTheServers(t *testing.T) {
	r := newRoad(t, true)
	large := strings.Replace(read, "/app", "/large", 1)
	for i, answer := range r.talk(t, large, large, large, large) {
		if want := []string{"200 MISS", "200 HIT"}[min(i, 1)]; !strings.HasPrefix(answer, want) {
			t.Errorf("answer %d is %.40q, want %s", i, answer, want)
		}
	}
	if n := r.calls.Load(); n != 4 {
		t.Errorf("the server saw %d of 4 requests", n)
	}
}

func TestHTTP2BesideHits(t *testing.T) {
	r := newRoad(t, true)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for range 20 {
		got := ask(t, &http.Client{Transport: transport}, http.MethodGet, "http://"+r.address+"/v1/secret/data/app", "", headerRequest, "true")
		if got.status != http.StatusOK || got.header.Get("X-Cache") != "HIT" {
			t.Fatalf("answered %d %v", got.status, got.header)
		}
	}
	if n := r.calls.Load(); n != 20 {
		t.Errorf("the server saw %d of 20 requests", n)
	}
}

// TestAtTheEndTheServerAnswersHits: it lets the client know that the connection ends, which
// would be cut otherwise while the client sends its next request.
func TestAtTheEndTheServerAnswersHits(t *testing.T) {
	r := newRoad(t, true)
	ask := r.dial(t)
	for i, want := range []struct {
		calls int64
		last  bool
	}{{1, false}, {1, false}, {2, true}} {
		r.proxy.draining.Store(i == 2)
		answer, last := ask(read)
		if n := r.calls.Load(); !strings.HasPrefix(answer, "200 HIT") || last != want.last || n != want.calls {
			t.Errorf("answer %d is %q, the last %v, and the server saw %d requests; want %+v", i, answer, last, n, want)
		}
	}
}

// sayings are parts of what a client sends.
var sayings = [][]string{
	{read, read, read, other, read, create, create},
	{read + read + read + create + create + other + read}, // a pipeline
	{read + read[:9], read[9:], read},
	{read[:1], read[1:14], read[14:40], read[40:], read, create[:len(create)-5], create[len(create)-5:], read},
	{other, create[:len(create)-14], create[len(create)-14:], read, read},
	{read, strings.Replace(read, "\r\n\r\n", "\r\nX-Vault-Token: t\r\n\r\n", 1), strings.Replace(read, "\r\n\r\n", "\r\nX-Vault-Token: stranger\r\n\r\n", 1), read},
	{read, strings.Replace(read, "X-Vault-Request: true\r\n", "", 1), read},
	{read, strings.Replace(read, "Host: vault:8200\r\n", "", 1)},
	{read, strings.Replace(read, "\r\nHost", "\r\nHost: a\r\nHost", 1)},
	{read, strings.Replace(read, "X-Vault-Request: true", "X-Vault-Request: true\r\nX-Vault-Request: true", 1), read},
	{read, strings.Replace(read, "X-Vault-Request", "X-Vault-Wrap-TTL: 60\r\nX-Vault-Request", 1), read},
	{read, strings.Replace(read, "X-Vault-Request", "Cache-Control: no-cache\r\nX-Vault-Request", 1), read},
	{read, strings.Replace(read, "X-Vault-Request", "Pragma: no-cache\r\nX-Vault-Request", 1), read},
	{read, strings.Replace(read, "X-Vault-Request", "X-Vault-Namespace: a/\r\nX-Vault-Request", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: 14\r\nContent-Length: 14", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: 14\r\nContent-Length: 5", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: 5\r\nContent-Length: 14", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Expect: 100-continue\r\nContent-Length: 14", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Trailer: Content-Length\r\nContent-Length: 14", 1), read},
	{read, strings.Replace(read, "Host: vault:8200", "Connection: close\r\nHost: vault:8200", 1), read},
	{read, strings.Replace(read, "Host: vault:8200", "Host: va/ult", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: 14\r\nTransfer-Encoding: chunked", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: +14", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length : 14", 1), read},
	{read, strings.Replace(create, "Content-Length: 14", "Content-Length: 0014", 1), read},
	{read, strings.Replace(create, "POST", "post", 1), read},
	{read, strings.Replace(read, "GET", "LIST", 1), read},
	{read, strings.Replace(read, "\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc", 1), read},
	{read, strings.Replace(read, "/app", "/%61pp", 1), strings.Replace(read, "/app", "/app?", 1), strings.Replace(read, "/app", "/app?version=1", 1), strings.Replace(read, "/app", "/./app", 1), read},
	{read, strings.Replace(read, "HTTP/1.1", "HTTP/1.0", 1), read},
	{read, strings.ReplaceAll(read, "\r\n", "\n"), read},
	{read, strings.Replace(read, "\r\nX-Vault", "\r\n folded\r\nX-Vault", 1), read},
	{read, "\r\n" + read, read},
	{read, strings.Replace(read, "GET /", "GET http://vault:8200/", 1), read},
	{read, strings.Replace(read, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), read},
	{read, strings.Replace(read, "\r\n\r\n", "\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 1), read},
	{read, "PUT /v1/secret/data/app" + head + "Content-Length: 2\r\n\r\n{}", read, read},
	{read, "POST /v1/auth/token/lookup" + head + "Content-Length: 13\r\n\r\n" + `{"token":"t"}`, read},
	{read, "garbage\r\n\r\n", read},
	{read, read + "POST /v1/sys/other" + head + "Content-Length: 300\r\n\r\n", read, read},
	{read, read + "GET /v1/sys/other" + head + "X-Other: ", read, read},
	{read, "POST /v1/auth/token/create" + head + "Content-Length: 20\r\n\r\n" + `{"ttl":"100h"}`, "      ", read},
}

// TestHitsDifferInNothing has the same said to a server with hits before it and to one
// without: what they answer is the same.
func TestHitsDifferInNothing(t *testing.T) {
	for i, parts := range sayings {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			parts = append(parts, last)
			with, without := newRoad(t, true).say(t, 2*time.Second, parts...), newRoad(t, false).say(t, 2*time.Second, parts...)
			if with != without {
				t.Errorf("said\n%q\nwith hits before it the server answers\n%s\nwithout\n%s", parts, with, without)
			}
		})
	}
}

// TestAByteTheServerTookEarlyIsOfTheNextRequest: it takes one while it looks whether the
// client leaves.
func TestAByteTheServerTookEarlyIsOfTheNextRequest(t *testing.T) {
	r := newRoad(t, true)
	for _, sent := range []string{read, "X" + read} {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		c := &hitConn{Conn: ours, gate: r.proxy.newGate(&r.proxy.cfg.Listeners[0], false), served: true}
		go func() { _, _ = io.WriteString(theirs, sent); _ = theirs.Close() }()
		b := make([]byte, 4096)
		if n, err := c.Read(b[:1]); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.state(http.StateIdle)
		if n, err := c.Read(b); string(b[:n]) != sent[1:] || err != nil {
			t.Errorf("the server gets %q, %v of %q", b[:n], err, sent)
		}
	}
}

func TestAnEndlessHeadIsNotFollowed(t *testing.T) {
	c := &hitConn{}
	if c.give(make([]byte, maxPlainHead)); c.lost {
		t.Error("a large head is not followed")
	}
	if c.give([]byte("x")); !c.lost || c.given != nil {
		t.Error("one that is too large is")
	}
}

func TestAHitAsItIsWritten(t *testing.T) {
	a := hitAnswer{header: http.Header{"Content-Length": {"99"}, "X-Cache": {"HIT"}}, body: []byte("abc")}
	const want = "HTTP/1.1 200 OK\r\nX-Cache: HIT\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\nContent-Length: 3\r\n\r\nabc"
	if got := string(a.bytes(time.Unix(1, 0))); got != want || !a.sound() {
		t.Errorf("a hit is written as\n%q, want\n%q", got, want)
	}
	a.header["X-Cache"] = []string{"a\r\nb"}
	if a.sound() {
		t.Error("a header of two lines is sent")
	}
}

func TestPlainRequests(t *testing.T) {
	const rest = " HTTP/1.1\r\nHost: v\r\n\r\n"
	for raw, want := range map[string]string{
		"GET /v1/a/b-c_d.e~f?version=2&g=h" + rest:                                               "GET /v1/a/b-c_d.e~f version=2&g=h v map[]  55+0",
		"PUT /v1/a HTTP/1.1\r\nx-vault-token:  t \r\nhost: v:1\r\nContent-Length: 3\r\n\r\nabcd": "PUT /v1/a  v:1 map[X-Vault-Token:[t]] abc 72+3",
		"PUT /v1/a HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 00003\r\n\r\nab":                   "PUT /v1/a  [::1] map[] ab 58+3",
		"GET /v1/a%62" + rest: "", "GET /v1/a+b" + rest: "", "GET /v1/a?" + rest: "", "GET /v1/a?b=%20" + rest: "", "GET /v2/a" + rest: "", "GET  /v1/a" + rest: "",
		"get /v1/a" + rest: "", " /v1/a" + rest: "", "GET http://v/v1/a" + rest: "", "GET /v1/a\x00" + rest: "", "GET /v1/a#b" + rest: "",
		"GET /v1/a HTTP/1.0\r\nHost: v\r\n\r\n": "", "GET /v1/a HTTP/1.1 \r\nHost: v\r\n\r\n": "", "GET /v1/a HTTP/1.1\nHost: v\n\r\n\r\n": "",
		"GET /v1/a HTTP/1.1\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: \r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v w\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nHost: v\r\n\r\n": "",
		"GET /v1/a HTTP/1.1\r\nHost: v\r\nX Y: z\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nX : z\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\n: z\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nX\r\n\r\n": "",
		"GET /v1/a HTTP/1.1\r\nHost: v\r\nX: a\tb\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nX: a\nb\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nX: \xe4\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\n x\r\n\r\n": "",
		"GET /v1/a HTTP/1.1\r\nHost: v\r\nX: 1\r\nX: 2\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nConnection: x\r\n\r\n": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nExpect: x\r\n\r\n": "",
		"GET /v1/a HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\n": "",
		"PUT /v1/a HTTP/1.1\r\nHost: v\r\nContent-Length: 1,1\r\n\r\na":       "", "PUT /v1/a HTTP/1.1\r\nHost: v\r\nContent-Length: -1\r\n\r\na": "", "PUT /v1/a HTTP/1.1\r\nHost: v\r\nContent-Length: \r\n\r\na": "",
		"PUT /v1/a HTTP/1.1\r\nHost: v\r\nContent-Length: 1000000\r\n\r\na": "", "GET /v1/a HTTP/1.1\r\nHost: v\r\nX: y": "", "": "",
		"GET /v1/a HTTP/1.1\r\nHost: v\r\n" + strings.Repeat("X: y\r\n", maxPlainHeaders+1) + "\r\n": "",
	} {
		var q plainRequest
		got := ""
		if size, ok := q.read([]byte(raw)); ok && q.http() != nil {
			r := q.http()
			got = fmt.Sprintf("%s %s %s %s %v %s %d+%d", r.Method, r.URL.Path, r.URL.RawQuery, r.Host, r.Header, q.body, size-r.ContentLength, r.ContentLength)
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", raw, got, want)
		}
	}
}

// FuzzPlain: what is plain, net/http reads in the same way, to the same byte.
func FuzzPlain(f *testing.F) {
	for _, parts := range sayings {
		f.Add([]byte(strings.Join(parts[1:], "")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q plainRequest
		size, ok := q.read(raw)
		if !ok {
			return
		}
		all := bytes.NewReader(raw)
		in := bufio.NewReader(all)
		theirs, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q is plain, but %v", raw, err)
		}
		body, err := io.ReadAll(theirs.Body)
		left := int64(in.Buffered() + all.Len())
		if more := size - int64(len(raw)); more > 0 {
			left, err = left-more, nil // net/http misses it too
		}
		ours := q.http()
		if ours == nil { // a header comes twice
			return
		}
		theirs.Header.Del("Content-Length")
		got := fmt.Sprint(ours.Method, ours.URL, ours.URL.EscapedPath(), ours.RequestURI, ours.Proto, ours.Host, ours.Header, ours.ContentLength, string(q.body), int64(len(raw))-size)
		want := fmt.Sprint(theirs.Method, theirs.URL, theirs.URL.EscapedPath(), theirs.RequestURI, theirs.Proto, theirs.Host, theirs.Header, theirs.ContentLength, string(body), left)
		if got != want || err != nil {
			t.Errorf("%q is read as\n%s, by net/http as\n%s (%v)", raw, got, want, err)
		}
	})
}
