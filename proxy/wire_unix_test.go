//go:build unix

package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestNothingLateIsSmuggled: nor is what comes later, on a connection at rest. (Without a
// wire net/http's transport sees it, some time.)
func TestNothingLateIsSmuggled(t *testing.T) {
	for name, c := range map[string]struct{ answer, late string }{
		"an answer":                       {"Content-Length: 2\r\n\r\nok", poison},
		"garbage":                         {"Content-Length: 2\r\n\r\nok", "\r\n"},
		"a length longer than the chunks": {"Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", poison},
	} {
		t.Run(name, func(t *testing.T) { smuggle(t, c.answer, c.late) })
	}
}

// TestDialersOfTheirOwn: a transport that shakes hands itself is used for that, and one
// that agreed on HTTP/2 is refused before anything is sent.
func TestDialersOfTheirOwn(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	trust := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for protocol, want := range map[string]int{"http/1.1": 200, "": 200, "h2": 502} {
		var dialled atomic.Int32
		r := start(t, secure.URL, func(c *Config) {
			transport := c.Client.CloneConfig().HttpClient.Transport.(*http.Transport)
			transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialled.Add(1)
				settings := &tls.Config{RootCAs: trust}
				if protocol != "" {
					settings.NextProtos = []string{protocol}
				}
				return (&tls.Dialer{Config: settings}).DialContext(ctx, network, address)
			}
			c.Retries = -1
		})
		for range 3 {
			if a := r.ask(t, "POST", "/v1/x", "{}"); a.status != want || want == 200 && a.body != "HTTP/1.1" {
				t.Errorf("%q: answered %d %s, want %d", protocol, a.status, a.body, want)
			}
		}
		if n := dialled.Load(); n == 0 || want == 200 && n > 1 {
			t.Errorf("%q: dialled %d times", protocol, n)
		}
	}
}
