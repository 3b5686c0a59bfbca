package lease

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/time/rate"
)

// roadTo is the road of a client with its address and settings changed by set.
func roadTo(t *testing.T, address string, redirects bool, set func(*api.Config)) *road {
	t.Helper()
	cfg := &api.Config{Address: address, HttpClient: &http.Client{Transport: &http.Transport{}}, CloneHeaders: true}
	if set != nil {
		set(cfg)
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken("not to be used")
	client.SetNamespace("team")
	client.AddHeader("X-Custom", "mine")
	r, err := newRoad(client, redirects)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.transport.(*http.Transport).CloseIdleConnections() })
	return &r
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h := r.Header
	_, _ = io.WriteString(w, strings.Join([]string{
		r.Method, r.URL.RequestURI(), h.Get("X-Vault-Token"), h.Get("X-Vault-Namespace"),
		h.Get("X-Vault-Request"), h.Get("X-Custom"), string(body),
	}, "|"))
}

func ask(t *testing.T, r *road, c outgoing) string {
	t.Helper()
	resp, err := r.send(t.Context(), c)
	if err != nil {
		return "error: " + err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status[:3] + " " + string(body)
}

func TestRequestsAreWhatTheClientWouldSend(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	for want, c := range map[string]outgoing{
		"200 GET|/v1/a/b%20c|t1|team|true|mine|":        {method: "GET", path: "a/b c", token: "t1", namespace: "team"},
		"200 GET|/v1/a?version=3|t1||true|mine|":        {method: "GET", path: "a", token: "t1", query: map[string][]string{"version": {"3"}}},
		`200 PUT|/v1/a|t1|other|true|mine|{"x":1}`:      {method: "PUT", path: "a", token: "t1", namespace: "other", body: []byte(`{"x":1}`)},
		"200 LIST|/v1/secret/metadata||team|true|mine|": {method: "LIST", path: "secret/metadata", namespace: "team"},
	} {
		if got := ask(t, roadTo(t, server.URL, true, nil), c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := ask(t, roadTo(t, server.URL+"/behind/", true, nil), outgoing{method: "GET", path: "a"}); !strings.HasPrefix(got, "200 GET|/behind/v1/a|") {
		t.Errorf("a path in the address: %q", got)
	}
}

func TestNamespaceOfARequest(t *testing.T) {
	r := roadTo(t, "http://127.0.0.1:1", true, nil)
	for _, tc := range []struct{ base, relative, want string }{
		{"", "", "team"}, {"", "a/", "team/a"}, {"own", "", "own"}, {"own/", "/a/b/", "own/a/b"},
	} {
		if got := r.namespace(tc.base, tc.relative); got != tc.want {
			t.Errorf("%q below %q: %q, want %q", tc.relative, tc.base, got, tc.want)
		}
	}
}

func TestUnixSocketAddress(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "v")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(echo)}}
	server.Start()
	defer server.Close()
	if got := ask(t, roadTo(t, "unix://"+socket, true, nil), outgoing{method: "GET", path: "a"}); !strings.HasPrefix(got, "200 GET|/v1/a|") {
		t.Error(got)
	}
}

// TestRedirects: once, with token and body, and never from TLS to plain text.
func TestRedirects(t *testing.T) {
	active := httptest.NewServer(http.HandlerFunc(echo))
	defer active.Close()
	to := active.URL + "/v1/moved"
	standby := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	plainStandby := httptest.NewServer(http.HandlerFunc(standby))
	defer plainStandby.Close()
	tlsStandby := httptest.NewTLSServer(http.HandlerFunc(standby))
	defer tlsStandby.Close()
	trust := func(c *api.Config) { c.HttpClient = tlsStandby.Client() }
	put := outgoing{method: "PUT", path: "a", token: "t1", namespace: "team", body: []byte("{}")}

	if got := ask(t, roadTo(t, plainStandby.URL, true, nil), put); got != "200 PUT|/v1/moved|t1|team|true|mine|{}" {
		t.Error("followed:", got)
	}
	if got := ask(t, roadTo(t, tlsStandby.URL, true, trust), put); !strings.HasPrefix(got, "307 ") {
		t.Error("from TLS to plain text:", got)
	}
	if got := ask(t, roadTo(t, plainStandby.URL, false, nil), put); !strings.HasPrefix(got, "307 ") {
		t.Error("although redirects are disabled:", got)
	}
	to = plainStandby.URL + "/v1/again"
	if got := ask(t, roadTo(t, plainStandby.URL, true, nil), put); !strings.HasPrefix(got, "307 ") {
		t.Error("a second time:", got)
	}
}

func TestPlainServerBehindHTTPSAddress(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	got := ask(t, roadTo(t, strings.Replace(server.URL, "http:", "https:", 1), true, nil), outgoing{method: "GET", path: "a"})
	if !strings.HasPrefix(got, "error: the server speaks HTTP, not HTTPS") {
		t.Error(got)
	}
}

func TestRateLimitHoldsRequestsBack(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	limiter := rate.NewLimiter(rate.Every(time.Hour), 1)
	r := roadTo(t, server.URL, true, func(c *api.Config) { c.Limiter = limiter })
	if got := ask(t, r, outgoing{method: "GET", path: "a"}); !strings.HasPrefix(got, "200 ") {
		t.Error(got)
	}
	if tokens := limiter.Tokens(); tokens >= 1 {
		t.Errorf("the request took no token: %v are left", tokens)
	}
}
