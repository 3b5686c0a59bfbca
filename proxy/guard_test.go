package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func echo(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "vault saw "+r.URL.Path) }

func TestRequiredHeaderMustBeThereOnce(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.Listeners[0].RequireHeader = true })
	for _, tt := range []struct {
		path   string
		header []string
		want   int
	}{
		{"/v1/x", nil, 412}, {"/v1/x", []string{"X-Vault-Request", "true"}, 200}, {"/v1/x", []string{"X-Vault-Request", "bogus"}, 412},
		{"/v1/x", []string{"X-Vault-Request", "true", "X-Vault-Request", "true"}, 412}, {"/v1/x", []string{"X-Vault-Request", ""}, 412},
		{"/proxy/v1/metrics", nil, 412}, {"/agent/v1/cache-clear", nil, 412}, {"/proxy/v1/metrics", []string{"X-Vault-Request", "true"}, 200},
	} {
		a := r.ask(t, "GET", tt.path, "", tt.header...)
		if a.status != tt.want {
			t.Errorf("%s with %q: %d, want %d", tt.path, tt.header, a.status, tt.want)
		}
		if a.status == 412 && strings.Contains(a.body, "X-Vault-Request") {
			t.Error("the refusal tells how to pass")
		}
	}
}

func TestRoles(t *testing.T) {
	paths := []string{"/v1/x", "/proxy/v1/metrics", "/agent/v1/metrics", "/live", "/ready", "/proxy/v1/cache-clear", "/proxy/v1/quit", "/proxy/v1/other"}
	for _, tt := range []struct {
		role Role
		want []int
	}{
		{RoleDefault, []int{200, 200, 200, 200, 200, 200, 405, 404}}, // /live and /ready are Vault's here
		{RoleMetricsOnly, []int{404, 200, 200, 200, 200, 404, 404, 404}},
		{RoleAdmin, []int{404, 200, 200, 200, 200, 200, 405, 404}},
		{RoleProxyOnly, []int{200, 404, 404, 200, 200, 404, 404, 404}},
	} {
		r := start(t, serve(t, echo), func(c *Config) { c.Listeners[0].Role, c.Listeners[0].EnableQuit = tt.role, true })
		for i, path := range paths {
			if a := r.ask(t, "GET", path, ""); a.status != tt.want[i] {
				t.Errorf("role %q: %s gives %d, want %d", tt.role, path, a.status, tt.want[i])
			}
		}
	}
}

func TestAdminOfItsOwnListener(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) {
		c.Listeners = append(c.Listeners, Listener{Address: "127.0.0.1:0", Role: RoleAdmin})
	})
	if a := r.ask(t, "POST", "/proxy/v1/cache-clear", `{"type":"all"}`); a.status != 404 {
		t.Errorf("cache-clear beside an admin listener: %d", a.status)
	}
}

func TestReadyTellsOfTheLogin(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.Listeners[0].Role, c.AutoAuth = RoleMetricsOnly, true })
	if a := r.ask(t, "GET", "/ready", ""); a.status != 503 {
		t.Errorf("before the login: %d", a.status)
	}
	r.login("t", 1)
	if a := r.ask(t, "GET", "/ready", ""); a.status != 200 {
		t.Errorf("after the login: %d", a.status)
	}
}

func TestQuitOnce(t *testing.T) {
	var quits atomic.Int32
	for _, enabled := range []bool{false, true} {
		r := start(t, serve(t, echo), func(c *Config) {
			c.Listeners[0].EnableQuit, c.OnQuit = enabled, func() { quits.Add(1) }
		})
		for range 2 {
			want := http.StatusNotFound
			if enabled {
				want = http.StatusOK
			}
			if a := r.ask(t, "POST", "/agent/v1/quit", ""); a.status != want {
				t.Errorf("quit enabled %v: %d", enabled, a.status)
			}
		}
	}
	if quits.Load() != 1 {
		t.Errorf("quit %d times", quits.Load())
	}
}

func TestCacheClearEndpoint(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.Cache = &Cache{} })
	for body, want := range map[string]int{
		"": 400, "{": 400, `{}`: 400, `{"type":"nonsense","value":"x"}`: 400, `{"type":"token"}`: 500,
		`{"type":"all"}`: 200, `{"type":"token","value":"x"}`: 200, `{"type":"request_path","value":"/v1/x","namespace":"ns1/"}`: 200,
	} {
		if a := r.ask(t, "POST", "/proxy/v1/cache-clear", body); a.status != want {
			t.Errorf("%q: %d %s, want %d", body, a.status, a.body, want)
		}
	}
}

func TestMetricsForms(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.Cache = &Cache{} })
	r.ask(t, "GET", "/v1/x", "")
	var s Stats
	if a := r.ask(t, "GET", "/proxy/v1/metrics", ""); json.Unmarshal([]byte(a.body), &s) != nil || s.Forwarded != 1 {
		t.Errorf("JSON: %s", a.body)
	}
	if a := r.ask(t, "GET", "/proxy/v1/metrics?format=prometheus", ""); !strings.Contains(a.body, "\nenvexec_proxy_forwarded_total 1\n") {
		t.Errorf("prometheus: %s", a.body)
	}
	if a := r.ask(t, "GET", "/proxy/v1/metrics?format=prometheus", ""); strings.Contains(a.body, "_secret_") {
		t.Errorf("of no secrets: %s", a.body)
	}
	if a := r.ask(t, "GET", "/proxy/v1/metrics?format=x", ""); a.status != 400 {
		t.Errorf("unknown format: %d", a.status)
	}
	if a := r.ask(t, "POST", "/proxy/v1/metrics", ""); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}

func TestMetricsOfSecrets(t *testing.T) {
	secrets := []SecretStats{
		{Secret: "secret/data/a", Age: 90 * time.Second},
		{Secret: `database/creds/"x"`, Age: 1500 * time.Millisecond, EndsIn: time.Hour, Failures: 2, Error: "403"},
		{Secret: "secret/data/new", Age: -1, Failures: 1, Error: "no answer"},
	}
	r := start(t, serve(t, echo), func(c *Config) {
		c.Secrets, c.MetricsPrefix = func() []SecretStats { return secrets }, "app"
	})
	_, got, _ := strings.Cut(r.ask(t, "GET", "/proxy/v1/metrics?format=prometheus", "").body, "app_proxy_cache_events 0\n")
	if want := `# HELP app_secret_age_seconds Time since the secret was last confirmed by Vault.
# TYPE app_secret_age_seconds gauge
app_secret_age_seconds{secret="secret/data/a"} 90
app_secret_age_seconds{secret="database/creds/\"x\""} 1.5
# HELP app_secret_ends_seconds Time until the secret's lease or certificate ends.
# TYPE app_secret_ends_seconds gauge
app_secret_ends_seconds{secret="database/creds/\"x\""} 3600
# HELP app_secret_failures Requests for the secret that failed in a row.
# TYPE app_secret_failures gauge
app_secret_failures{secret="secret/data/a"} 0
app_secret_failures{secret="database/creds/\"x\""} 2
app_secret_failures{secret="secret/data/new"} 1
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var s Stats
	if a := r.ask(t, "GET", "/proxy/v1/metrics", ""); json.Unmarshal([]byte(a.body), &s) != nil || !slices.Equal(s.Secrets, secrets) {
		t.Errorf("JSON: %s", a.body)
	}
}

func TestPrometheusSwitchedOff(t *testing.T) {
	r := start(t, serve(t, echo), func(c *Config) { c.NoPrometheus = true })
	if a := r.ask(t, "GET", "/proxy/v1/metrics?format=prometheus", ""); a.status != 400 || !strings.Contains(a.body, "prometheus_retention_time") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.ask(t, "GET", "/proxy/v1/metrics", ""); a.status != 200 {
		t.Errorf("JSON: %d", a.status)
	}
}

func TestLimits(t *testing.T) {
	r := start(t, serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }), func(c *Config) {
		c.Listeners[0].MaxRequestSize, c.Listeners[0].MaxHeaderBytes = 1000, 8<<10
	})
	if a := r.ask(t, "PUT", "/v1/x", strings.Repeat("x", 1000)); a.status != 200 {
		t.Errorf("a body of the allowed size: %d", a.status)
	}
	if a := r.ask(t, "PUT", "/v1/x", strings.Repeat("x", 1001)); a.status != 413 {
		t.Errorf("a body too large: %d", a.status)
	}
	req, _ := http.NewRequest("PUT", r.url+"/v1/x", io.LimitReader(strings.NewReader(strings.Repeat("x", 200<<10)), 1<<30))
	if resp, err := r.client.Do(req); err == nil {
		if resp.Body.Close(); resp.StatusCode != 413 {
			t.Errorf("a chunked body too large: %d", resp.StatusCode)
		}
	}
	if a := r.ask(t, "GET", "/v1/x", "", "X-Big", strings.Repeat("x", 20<<10)); a.status != 431 {
		t.Errorf("headers too large: %d", a.status)
	}
}

func TestChildIsLimitedToItsPaths(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Vault-Token")) })
	child := &Child{Token: NewChildToken(), Paths: []string{"secret/data/app/", "ns1/kv/x"}}
	r := start(t, up, func(c *Config) { c.AutoAuth, c.Child = true, child })
	r.login("session", 1)
	for path, want := range map[string]int{
		"/v1/secret/data/app/db": 200, "/v1/secret/data/app": 200, "/v1/secret/data/apple": 403, "/v1/secret/data/other": 403,
		"/v1/secret/data/app/../other": 403, "/v1/secret/data/app/%2e%2e/other": 403, "/v1/secret/data/app%2Fdb": 403, "/v1/secret/data//app": 403,
		"/v1/sys/internal/ui/mounts/secret/data/app/db": 200, "/v1/sys/internal/ui/mounts/secret": 200, "/v1/sys/internal/ui/mounts/secret/app": 200, "/v1/x/sys/internal/ui/mounts/secret/app": 403, "/v1/sys/internal/ui/mounts/other": 403,
		"/v1/auth/token/lookup-self": 502, "/v1/auth/token/revoke-self": 403, "/v1/auth/token/create": 403, "/v1/ns1/kv/x": 200, "/ui/": 403, "/v1/": 403,
	} {
		req, _ := http.NewRequest("GET", r.url+path, nil)
		req.Header.Set("X-Vault-Token", child.Token.Reveal())
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 200 && string(body) != "session" {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
	if a := r.ask(t, "GET", "/v1/kv/x", "", "X-Vault-Token", child.Token.Reveal(), "X-Vault-Namespace", "ns1/"); a.status != 200 {
		t.Errorf("the namespace in the header: %d", a.status)
	}
	if a := r.ask(t, "GET", "/v1/secret/data/app/db", "", "X-Vault-Token", childMark+"guess"); a.body == "session" {
		t.Error("a guessed bearer became the session")
	}
}

func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

func TestPeersAreChecked(t *testing.T) {
	if !peersKnown {
		t.Skip("this system does not tell who connects")
	}
	for user, want := range map[string]bool{"4242": false, "root": os.Getuid() == 0} {
		path := filepath.Join(t.TempDir(), "s")
		r := start(t, serve(t, echo), func(c *Config) {
			c.Listeners = []Listener{{Network: "unix", Address: path, Mode: 0o666, AllowUsers: []string{user}}}
		})
		r.client.Transport.(*http.Transport).DialContext = dialUnix(path)
		resp, err := r.client.Get("http://x/v1/x")
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != want {
			t.Errorf("allowing %s: %v", user, err)
		}
	}
}

func TestTLSReloadAndClientCertificates(t *testing.T) {
	dir := t.TempDir()
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	cert, key, ca := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")
	one.issue(t, cert, key)
	os.WriteFile(ca, one.pem, 0o600)
	p := start(t, serve(t, echo), func(c *Config) {
		c.Listeners[0].TLS = &TLS{CertFile: cert, KeyFile: key, RequireClientCert: true, ClientCAFile: ca}
	})
	get := func(a *authority, with bool) (int, string) {
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		cfg := &tls.Config{RootCAs: pool}
		if with {
			cfg.Certificates = []tls.Certificate{one.pair(t)}
		}
		tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get(p.url + "/v1/x")
		if err != nil {
			return 0, ""
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Proto
	}
	if status, proto := get(one, true); status != 200 || proto != "HTTP/2.0" {
		t.Errorf("with a certificate: %d %s", status, proto)
	}
	if status, _ := get(one, false); status != 0 {
		t.Errorf("without a certificate: %d", status)
	}
	os.WriteFile(key, []byte("rubbish"), 0o600)
	if err := p.Reload(); err == nil {
		t.Error("a broken pair was accepted")
	}
	if status, _ := get(one, true); status != 200 {
		t.Errorf("after a broken pair: %d", status)
	}
	two.issue(t, cert, key)
	if err := p.Reload(); err != nil {
		t.Error(err)
	}
	if status, _ := get(two, true); status != 200 {
		t.Errorf("after the reload: %d", status)
	}
	if status, _ := get(one, true); status != 0 {
		t.Errorf("the old certificate is still shown: %d", status)
	}
}

func TestConfigProblemsAreJoined(t *testing.T) {
	_, err := New(Config{Lend: LendAlways, Child: &Child{}, Listeners: []Listener{
		{Address: "a:1", Mode: 0o600}, {Network: "pipe"}, {Network: "unix"}, {Role: "king"},
	}})
	for _, want := range []string{"no vault client", "with auto-auth", "child token is too short", "for unix sockets", `unknown network "pipe"`, "no path", `unknown role "king"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in %v", want, err)
		}
	}
}

func TestEndLetsRequestsFinish(t *testing.T) {
	came, goOn := make(chan struct{}), make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { close(came); <-goOn; io.WriteString(w, "done") })
	r := start(t, up, nil)
	got := make(chan string)
	go func() { got <- r.ask(t, "GET", "/v1/x", "").body }()
	<-came
	ended := make(chan struct{})
	go func() { r.stop(); close(ended) }()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(goOn)
	if body := <-got; body != "done" {
		t.Errorf("got %q", body)
	}
	<-ended
}

func TestEndDoesNotWaitForEver(t *testing.T) {
	came := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { close(came); <-r.Context().Done() })
	r := start(t, up, func(c *Config) { c.Drain = 10 * time.Millisecond })
	got := make(chan error)
	go func() {
		resp, err := r.client.Get(r.url + "/v1/x")
		if err == nil {
			resp.Body.Close()
		}
		got <- err
	}()
	<-came
	r.stop()
	if err := <-got; err == nil {
		t.Error("a request that never ends was answered")
	}
}

// TestStalledClientsAreLeft: one that sends no more of its body, one that takes no
// more of its answer; a slow one is served.
func TestStalledClientsAreLeft(t *testing.T) {
	left := make(chan struct{}, 1)
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
			return
		}
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				left <- struct{}{}
				return
			}
		}
	})
	r := start(t, up, func(c *Config) { c.Listeners[0].StallTimeout = 3 * time.Second })
	dial := func(request string) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, request)
		return conn
	}
	dial("GET /v1/sys/storage/raft/snapshot HTTP/1.1\r\nHost: x\r\n\r\n") // and never reads
	var halves []net.Conn
	for _, size := range []int{100, maxReplay + 100} { // a body that is kept, one that is not
		halves = append(halves, dial(fmt.Sprintf("PUT /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nbegun", size)))
	}
	for _, conn := range halves {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode < 400 {
			t.Errorf("half a body was answered %d", resp.StatusCode)
		}
	}
	<-left
	conn := dial("PUT /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
	for range 8 {
		time.Sleep(400 * time.Millisecond) // slower in all than the limit
		io.WriteString(conn, "x")
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("a slow body: %v %v", resp, err)
	}
}
