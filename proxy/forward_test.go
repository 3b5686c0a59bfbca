package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/envexec/envexec/secret"
)

func TestPathAndQueryPassByteForByte(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.RequestURI) })
	r := start(t, up, nil)
	for _, path := range []string{
		"/v1/secret/data/a", "/v1/secret/metadata/a/", "/v1/secret/data/a%2Fb", "/v1/a//b", "/v1/a/../b", "/v1/a%20b?x=1&a=2;3",
		"/v1/x?", "/v1/x?list=true&b=%2f", "/ui/", "/", `/v1/a"b'(c)`, "/v1/%7Bname%7D", "/v1/{name}", "/v1/a|b", "//v1/x",
	} {
		for _, method := range []string{"GET", "LIST", "PUT", "DELETE", "PATCH"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			conn.Close()
			if got, want := string(body), method+" "+path; got != want {
				t.Errorf("vault saw %q, want %q", got, want)
			}
		}
	}
}

// TestVaultBehindAProxy: a proxy between us and Vault gets whole URLs, and the name and
// password in Vault's address reach whoever asks for them before it.
func TestVaultBehindAProxy(t *testing.T) {
	forwarder := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %s", r.Method, r.RequestURI, len(body), r.Header.Get("Authorization"))
	})
	address, _ := url.Parse(forwarder)
	r := start(t, "http://me:secret@vault.test:8200", func(c *Config) {
		c.Client.CloneConfig().HttpClient.Transport.(*http.Transport).Proxy = http.ProxyURL(address)
	})
	for _, tt := range []struct{ method, path, body, header, want string }{
		{"GET", "/v1/a%2Fb/?x=1", "", "", "GET http://vault.test:8200/v1/a%2Fb/?x=1 0 Basic bWU6c2VjcmV0"},
		{"LIST", "/v1/a//b?", "", "", "LIST http://vault.test:8200/v1/a//b? 0 Basic bWU6c2VjcmV0"},
		{"PUT", "/v1/a", "b", "Negotiate x", "PUT http://vault.test:8200/v1/a 1 Negotiate x"},
		{"PUT", "/v1/a", strings.Repeat("b", maxReplay+1), "", "PUT http://vault.test:8200/v1/a 65537 Basic bWU6c2VjcmV0"},
	} {
		var header []string
		if tt.header != "" {
			header = []string{"Authorization", tt.header}
		}
		if a := r.ask(t, tt.method, tt.path, tt.body, header...); a.body != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.method, tt.path, a.body, tt.want)
		}
	}
}

func TestHeadersPassExceptHopByHop(t *testing.T) {
	var seen http.Header
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Header().Set("Connection", "X-Private")
		w.Header().Set("X-Private", "1")
		w.Header().Set("X-Vault-Index", "i")
		w.WriteHeader(http.StatusTeapot)
	})
	for _, cache := range []*Cache{nil, {StaticSecrets: true}} {
		headersPass(t, start(t, up, func(c *Config) { c.Cache = cache }), &seen)
	}
}

func headersPass(t *testing.T, r *rig, told *http.Header) {
	t.Helper()
	a := r.ask(t, "POST", "/v1/x", "body", "X-Vault-Token", "t", "X-Vault-Namespace", "ns1/", "X-Custom", "a", "X-Custom", "b",
		"Connection", "X-Mine", "X-Mine", "1", "User-Agent", "cli/1", "Accept-Encoding", "br", "X-Vault-Wrap-TTL", "5m")
	seen := *told
	for name, want := range map[string]string{
		"X-Vault-Token": "[t]", "X-Vault-Namespace": "[ns1/]", "X-Custom": "[a b]", "X-Mine": "[]", "Connection": "[]",
		"User-Agent": "[envexec/test; cli/1]", "Accept-Encoding": "[br]", "X-Vault-Wrap-Ttl": "[5m]", "X-Forwarded-For": "[]",
	} {
		if got := fmt.Sprint(seen[name]); got != want {
			t.Errorf("vault saw %s: %s, want %s", name, got, want)
		}
	}
	if a.status != http.StatusTeapot || a.header.Get("X-Private") != "" || a.header.Get("X-Vault-Index") != "i" {
		t.Errorf("the client got %d %v", a.status, a.header)
	}
}

func TestBodiesOfAnySizeStream(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %d", n, r.ContentLength)
	})
	r := start(t, up, nil)
	for _, size := range []int{0, 1, maxReplay, maxReplay + 1, 5 << 20} {
		if got, want := r.ask(t, "PUT", "/v1/x", strings.Repeat("x", size)).body, fmt.Sprintf("%d %d", size, size); got != want {
			t.Errorf("vault read %s bytes, want %s", got, want)
		}
		req, _ := http.NewRequest("PUT", r.url+"/v1/x", io.LimitReader(strings.NewReader(strings.Repeat("x", size)), 1<<30)) // of unknown length
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got, _, _ := strings.Cut(string(body), " "); got != fmt.Sprint(size) {
			t.Errorf("vault read %s bytes of a chunked body, want %d", got, size)
		}
	}
}

func TestAnswersAreFlushedAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	r := start(t, up, nil)
	resp, err := r.client.Get(r.url + "/v1/sys/monitor?log_level=info")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d = %q", i, lines.Text())
		}
		next <- struct{}{}
	}
}

func TestClientThatLeavesCancelsUpstream(t *testing.T) {
	came, left := make(chan struct{}), make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(came)
		<-r.Context().Done()
		close(left)
	})
	r := start(t, up, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/v1/slow", nil)
	if _, err := r.client.Do(req); err == nil {
		t.Error("a cancelled request succeeded")
	}
	<-left
}

func TestRedirectsToOtherNodes(t *testing.T) {
	var active string
	active = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %t %s token=%s body=%s", r.Method, "http://"+r.Host == active, r.RequestURI, r.Header.Get("X-Vault-Token"), body)
	})
	standby := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(r.URL.Path, "/relative") {
			http.Redirect(w, r, "/ui/", http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, active+r.RequestURI, http.StatusTemporaryRedirect)
	})
	r := start(t, standby, nil)
	for _, body := range []string{"", "small"} {
		a := r.ask(t, "PUT", "/v1/a%2Fb?q=1", body, "X-Vault-Token", "t")
		if want := fmt.Sprintf("PUT true /v1/a%%2Fb?q=1 token=t body=%s", body); a.body != want {
			t.Errorf("the active node answered %d %q, want %q", a.status, a.body, want)
		}
	}
	if a := r.ask(t, "PUT", "/v1/x", strings.Repeat("x", maxReplay+1)); a.status != 307 || a.header.Get("Location") != active+"/v1/x" {
		t.Errorf("a large body was answered %d %s, want the redirect", a.status, a.header.Get("Location"))
	}
	if a := r.ask(t, "GET", "/relative", ""); a.status != 307 || a.header.Get("Location") != "/ui/" {
		t.Errorf("a relative redirect became %d %s", a.status, a.header.Get("Location"))
	}
	strict := start(t, standby, func(c *Config) { c.NoRedirects = true })
	if a := strict.ask(t, "GET", "/v1/x", ""); a.status != 307 {
		t.Errorf("a redirect was followed although that is off: %d", a.status)
	}
}

func TestOnlyHarmlessRequestsAreRepeated(t *testing.T) {
	for _, tt := range []struct {
		method string
		want   int32
	}{{"GET", 3}, {"HEAD", 3}, {"OPTIONS", 3}, {"LIST", 3}, {"POST", 1}, {"PUT", 1}, {"PATCH", 1}, {"DELETE", 1}, {"OTHER", 1}} {
		var count atomic.Int32
		up := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if count.Add(1) < 3 {
				conn, _, _ := w.(http.Hijacker).Hijack()
				conn.Close()
			}
		})
		r := start(t, up, nil)
		a := r.ask(t, tt.method, "/v1/x", "")
		if count.Load() != tt.want || (a.status == 200) != (tt.want == 3) {
			t.Errorf("%s was sent %d times and answered %d, want %d times", tt.method, count.Load(), a.status, tt.want)
		}
	}
}

func TestVaultAwayIsSaidInVaultsForm(t *testing.T) {
	r := start(t, "http://127.0.0.1:1", nil)
	a := r.ask(t, "GET", "/v1/secret/x", "")
	if a.status != http.StatusBadGateway || strings.TrimSpace(a.body) != `{"errors":["vault cannot be reached"]}` {
		t.Errorf("answer %d %s", a.status, a.body)
	}
}

func TestWebsocketsPass(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { websocketPasses(t, secure) })
	}
}

func websocketPasses(t *testing.T, secure bool) {
	up, trust := serveAs(t, secure, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(400)
			return
		}
		conn, rw, _ := w.(http.Hijacker).Hijack()
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "echo %s", line)
		rw.Flush()
	})
	r := start(t, up, trust)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/sys/events/subscribe/kv* HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("handshake: %v %v", resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := reader.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("through the socket came %q %v", line, err)
	}
}

func TestLentTokens(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s", r.Header.Get("X-Vault-Token"), r.Header.Get("Authorization"))
	})
	child := &Child{Token: NewChildToken()}
	bearer := child.Token.Reveal()
	for _, tt := range []struct {
		name   string
		lend   Lend
		header []string
		want   string
	}{
		{"never, none shown", LendNever, nil, "|"},
		{"never, own shown", LendNever, []string{"X-Vault-Token", "mine"}, "mine|"},
		{"never, child", LendNever, []string{"X-Vault-Token", bearer}, "session|"},
		{"never, child as bearer", LendNever, []string{"Authorization", "Bearer " + bearer}, "session|"},
		{"missing, none shown", LendMissing, nil, "session|"},
		{"missing, own shown", LendMissing, []string{"X-Vault-Token", "mine"}, "mine|"},
		{"missing, own as bearer", LendMissing, []string{"Authorization", "Bearer mine"}, "|Bearer mine"},
		{"missing, a login by ticket", LendMissing, []string{"Authorization", "Negotiate x"}, "session|Negotiate x"},
		{"always, a login by ticket", LendAlways, []string{"Authorization", "Bearer mine", "Authorization", "Negotiate x"}, "session|Negotiate x"},
		{"always, own shown", LendAlways, []string{"X-Vault-Token", "mine"}, "session|"},
		{"always, own as bearer", LendAlways, []string{"Authorization", "Bearer mine"}, "session|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, up, func(c *Config) { c.AutoAuth, c.Lend, c.Child = true, tt.lend, child })
			r.login("session", 1)
			if a := r.ask(t, "GET", "/v1/x", "", tt.header...); a.body != tt.want {
				t.Errorf("vault saw %q, want %q", a.body, tt.want)
			}
		})
	}
}

func TestRequestsWaitForTheFirstLogin(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Vault-Token")) })
	r := start(t, up, func(c *Config) { c.AutoAuth, c.Lend = true, LendMissing })
	got := make(chan string)
	go func() { got <- r.ask(t, "GET", "/v1/x", "").body }()
	r.login("late", 1) // before or after the request came: the answer is the same
	if body := <-got; body != "late" {
		t.Errorf("vault saw %q", body)
	}
}

func TestInvalidTokenIsReportedForOurTokensOnly(t *testing.T) {
	text := "permission denied"
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors":[%q]}`, text)
	})
	var told []string
	var used []any
	r := start(t, up, func(c *Config) {
		c.AutoAuth, c.Lend = true, LendMissing
		c.OnInvalidToken = func(t secret.Token) { told = append(told, t.ID.Reveal()) }
		c.OnUse = func(t secret.Token, status int) { used = append(used, t.ID.Reveal(), status) }
	})
	r.login("one", 1)
	r.ask(t, "GET", "/v1/x", "") // a missing right
	if fmt.Sprint(used) != "[one 403]" {
		t.Errorf("told of the use %v", used)
	}
	text = "permission denied\\ninvalid token"
	r.ask(t, "GET", "/v1/x", "", "X-Vault-Token", "foreign")
	if len(told) != 0 || len(used) != 2 {
		t.Fatalf("told of %v, uses %v", told, used)
	}
	if a := r.ask(t, "GET", "/v1/x", ""); a.status != 403 || !strings.Contains(a.body, "invalid token") {
		t.Errorf("the client got %d %s", a.status, a.body)
	}
	r.ask(t, "GET", "/v1/x", "", "X-Vault-Token", "one") // the client knows it
	if fmt.Sprint(told) != "[one one]" {
		t.Errorf("told of %v", told)
	}
}
