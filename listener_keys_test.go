//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const proxyLogin = `auto_auth {
  method "approle" {
    config = { role_id_file_path = "DIR/role" secret_id_file_path = "DIR/secret" remove_secret_id_file_after_reading = false }
  }
}
`

// reach asks what listens on one of the agent's sockets. status 0: there was no answer.
func (a *agentUnderTest) reach(socket, scheme, method, path, body string, header ...string) (status int, text string) {
	a.t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(a.dir, socket))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its own certificate
	}
	defer transport.CloseIdleConnections()
	if scheme == "client" { // that shows a certificate
		scheme = "https"
		pair, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "cert"), filepath.Join(a.dir, "key"))
		if err != nil {
			a.t.Fatal(err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, scheme+"://socket"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	all, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(all)
}

// TestListenersAreAsTheFileSays: what the keys of a listener say holds when envexec runs
// with them before a real Vault.
func TestListenersAreAsTheFileSays(t *testing.T) {
	group := os.Getgid()
	if os.Getuid() == 0 {
		group = 4321
	}
	a := startAgent(t, func(*agentUnderTest) string {
		text := proxyLogin + "api_proxy { use_auto_auth_token = true }\ncache { cache_static_secrets = true }\n"
		for address, keys := range map[string]string{
			"plain":     `tls_disable = true`,
			"guarded":   `tls_disable = true require_request_header = true`,
			"metrics":   `tls_disable = true role = "metrics_only"`,
			"admin":     `tls_disable = true role = "admin" proxy_api { enable_quit = true }`,
			"small":     `tls_disable = true max_request_size = 100 max_header_bytes = 4096`,
			"mode":      `tls_disable = true socket_mode = "0640"`,
			"group":     fmt.Sprintf(`tls_disable = true socket_group = "%d"`, group),
			"user":      fmt.Sprintf(`tls_disable = true socket_user = "%d"`, os.Getuid()),
			"strangers": `tls_disable = true socket_mode = "0666" allow_users = ["4242"]`,
			"friends":   fmt.Sprintf(`tls_disable = true allow_users = ["4242", "%d"]`, os.Getuid()),
			"tls":       `tls_cert_file = "DIR/cert" tls_key_file = "DIR/key"`,
			"mutual":    `tls_cert_file = "DIR/cert" tls_key_file = "DIR/key" tls_require_and_verify_client_cert = true tls_client_ca_file = "DIR/cert"`,
		} {
			text += fmt.Sprintf("listener \"unix\" { address = \"DIR/%s\" %s }\n", address, keys)
		}
		return text
	})
	const secret, clear = "/v1/secret/data/a", `{"type":"all"}`
	for _, tt := range []struct {
		socket, scheme, method, path, body string
		header                             []string
		want                               int
		says                               string
	}{
		{"plain", "http", "GET", secret, "", nil, 200, "value"},
		{"plain", "http", "GET", secret, "", []string{"X-Vault-Token", "hvs.nobodys"}, 403, "invalid token"},
		{"plain", "http", "POST", "/proxy/v1/cache-clear", clear, nil, 404, ""},
		{"plain", "http", "POST", "/proxy/v1/quit", "", nil, 404, ""},
		{"guarded", "http", "GET", secret, "", nil, 412, ""},
		{"guarded", "http", "GET", secret, "", []string{"X-Vault-Request", "true"}, 200, "value"},
		{"guarded", "http", "GET", "/agent/v1/metrics", "", nil, 412, ""},
		{"metrics", "http", "GET", secret, "", nil, 404, ""},
		{"metrics", "http", "GET", "/live", "", nil, 200, "ok"},
		{"metrics", "http", "GET", "/ready", "", nil, 200, "ok"},
		{"metrics", "http", "GET", "/proxy/v1/metrics?format=prometheus", "", nil, 200, "envexec_proxy_requests_total"},
		{"metrics", "http", "POST", "/proxy/v1/cache-clear", clear, nil, 404, ""},
		{"metrics", "http", "POST", "/agent/v1/quit", "", nil, 404, ""},
		{"admin", "http", "GET", secret, "", nil, 404, ""},
		{"admin", "http", "POST", "/agent/v1/cache-clear", clear, nil, 200, ""},
		{"admin", "http", "POST", "/agent/v1/cache-clear", `{"type":"some"}`, nil, 400, ""},
		{"small", "http", "GET", secret, "", nil, 200, "value"},
		{"small", "http", "PUT", secret, strings.Repeat("x", 101), nil, 413, ""},
		{"small", "http", "GET", secret, "", []string{"X-Long", strings.Repeat("x", 16<<10)}, 431, ""},
		{"strangers", "http", "GET", secret, "", nil, 0, ""},
		{"friends", "http", "GET", secret, "", nil, 200, "value"},
		{"tls", "https", "GET", secret, "", nil, 200, "value"},
		{"tls", "http", "GET", secret, "", nil, 400, "HTTPS"},
		{"mutual", "https", "GET", secret, "", nil, 0, ""},
		{"mutual", "client", "GET", secret, "", nil, 200, "value"},
	} {
		if status, text := a.reach(tt.socket, tt.scheme, tt.method, tt.path, tt.body, tt.header...); status != tt.want || !strings.Contains(text, tt.says) {
			t.Errorf("%s: %s %s %.20q: %d %s, want %d %s", tt.socket, tt.method, tt.path, tt.header, status, text, tt.want, tt.says)
		}
	}
	for socket, want := range map[string]os.FileMode{"plain": 0o600, "mode": 0o640, "group": 0o600, "strangers": 0o666} {
		info, err := os.Stat(filepath.Join(a.dir, socket))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("socket %s: %v %v, want %v", socket, info.Mode(), err, want)
		}
		if own, ok := info.Sys().(*syscall.Stat_t); socket == "group" && (!ok || int(own.Gid) != group) {
			t.Errorf("the group is %d, want %d", own.Gid, group)
		}
	}

	if status, text := a.reach("admin", "http", "POST", "/proxy/v1/quit", ""); status != 200 {
		t.Fatalf("quit: %d %s", status, text)
	}
	for began := time.Now(); ; <-time.After(10 * time.Millisecond) {
		if status, _ := a.reach("plain", "http", "GET", secret, ""); status == 0 {
			return
		}
		if time.Since(began) > patience {
			t.Fatal("it does not quit")
		}
	}
}

// lagging is what stands between envexec and a real Vault: it notes what Vault sees, and
// answers like a standby that has not seen the last write.
type lagging struct {
	http.Handler
	mu   sync.Mutex
	seen []http.Header // of requests for secrets
	lags int           // answers that are 412
}

func (l *lagging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v1/secret/") {
		l.mu.Lock()
		l.seen = append(l.seen, r.Header.Clone())
		l.lags--
		late := l.lags >= 0
		l.mu.Unlock()
		w.Header().Set("X-Vault-Index", base64.StdEncoding.EncodeToString([]byte("v1:cluster:5:5:hmac")))
		if late {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
	}
	l.Handler.ServeHTTP(w, r)
}

// TestKeysOfAPIProxyReachVault: what the keys of api_proxy say is what a real Vault sees.
func TestKeysOfAPIProxyReachVault(t *testing.T) {
	v := startForAgent(t)
	at, err := url.Parse(v.Addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for _, tt := range []struct {
		keys, listener string
		lags           int
		status, asked  int
		token          string // ours or theirs
		namespace      string
		index, forward string
	}{
		{keys: `use_auto_auth_token = true`, status: 403, asked: 1, token: "theirs", namespace: "sub"},
		{keys: `use_auto_auth_token = "force"`, status: 200, asked: 1, token: "ours", namespace: "sub"},
		{keys: `use_auto_auth_token = "force" prepend_configured_namespace = true`, status: 200, asked: 1, token: "ours", namespace: "team/sub"},
		{keys: `use_auto_auth_token = "force"`, listener: `fixed_namespace = "fixed"`, status: 200, asked: 1, token: "ours", namespace: "fixed"},
		{keys: `use_auto_auth_token = "force"`, lags: 1, status: 412, asked: 1, token: "ours", namespace: "sub"},
		{keys: `use_auto_auth_token = "force" enforce_consistency = "always"`, lags: 1, status: 412, asked: 1, token: "ours", namespace: "sub", index: "seen"},
		{keys: `use_auto_auth_token = "force" enforce_consistency = "always" when_inconsistent = "fail"`, lags: 1, status: 412, asked: 1, token: "ours", namespace: "sub", index: "seen"},
		{keys: `use_auto_auth_token = "force" enforce_consistency = "always" when_inconsistent = "retry"`, lags: 2, status: 200, asked: 3, token: "ours", namespace: "sub", index: "seen"},
		// A server allows that by its allow_forwarding_via_header.
		{keys: `use_auto_auth_token = "force" enforce_consistency = "always" when_inconsistent = "forward"`, status: 400, asked: 1, token: "ours", namespace: "sub", index: "seen", forward: "forward-active-node"},
		{keys: `use_auto_auth_token = "force" enforce_consistency = "never" when_inconsistent = "forward"`, status: 200, asked: 1, token: "ours", namespace: "sub"},
	} {
		l := &lagging{Handler: &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at) }}}
		between := httptest.NewServer(l)
		func() {
			defer between.Close()
			a := startAgentAt(t, v, fmt.Sprintf("vault { address = %q namespace = \"team\" }\n", between.URL), func(*agentUnderTest) string {
				return proxyLogin + "api_proxy { " + tt.keys + " }\nlistener \"unix\" { address = \"DIR/s\" tls_disable = true " + tt.listener + " }\n"
			})
			a.reach("s", "http", "GET", "/v1/secret/data/a", "") // whose state is remembered
			l.mu.Lock()
			l.seen, l.lags = nil, tt.lags
			l.mu.Unlock()
			status, text := a.reach("s", "http", "GET", "/v1/secret/data/a", "", "X-Vault-Token", "theirs", "X-Vault-Namespace", "sub")
			l.mu.Lock()
			defer l.mu.Unlock()
			if status != tt.status || len(l.seen) != tt.asked {
				t.Errorf("%s: %d %s after %d requests", tt.keys, status, text, len(l.seen))
				return
			}
			last := l.seen[len(l.seen)-1]
			token := "ours"
			if last.Get("X-Vault-Token") == "theirs" {
				token = "theirs"
			}
			index := ""
			if last.Get("X-Vault-Index") != "" {
				index = "seen"
			}
			if token != tt.token || last.Get("X-Vault-Namespace") != tt.namespace || index != tt.index || last.Get("X-Vault-Inconsistent") != tt.forward {
				t.Errorf("%s: vault saw %v", tt.keys, last)
			}
		}()
	}
}
