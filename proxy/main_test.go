package proxy

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running proxy before a server.
type rig struct {
	*Proxy
	url    string
	client *http.Client
	stop   func() // ends it; also done by the test's end
}

// start runs a proxy before the server at upstream; edit changes its configuration.
func start(t testing.TB, upstream string, edit func(*Config)) *rig {
	t.Helper()
	settings := api.DefaultConfig()
	settings.Address = upstream
	client, err := api.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	client.ClearToken()
	client.ClearNamespace()
	cfg := Config{Client: client, Listeners: []Listener{{Address: "127.0.0.1:0"}}, UserAgent: "envexec/test"}
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(); err != nil {
		t.Fatal(err)
	}
	r := &rig{Proxy: p, url: p.Addresses()[0], client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		r.client.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// login hands the proxy a session's token.
func (r *rig) login(id string, epoch uint64) {
	_ = r.WriteToken(context.Background(), secret.Token{ID: secret.NewText(id), Epoch: epoch})
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends one request; header pairs follow the body.
func (r *rig) ask(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	return ask(t, r.client, method, r.url+path, body, header...)
}

func ask(t testing.TB, client *http.Client, method, url, body string, header ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(all)}
}

// serve starts a server of handler and returns its address.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// serveAs starts a server of handler, with TLS and HTTP/2 as Vault has them or without. trust
// lets a proxy believe it.
func serveAs(t testing.TB, secure bool, handler http.HandlerFunc) (url string, trust func(*Config)) {
	t.Helper()
	if !secure {
		return serve(t, handler), func(*Config) {}
	}
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, func(c *Config) {
		dialsTLS(c).RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	}
}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

// index is an X-Vault-Index header.
func index(cluster string, local, replicated int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "v1:%s:%d:%d:hmac", cluster, local, replicated))
}
