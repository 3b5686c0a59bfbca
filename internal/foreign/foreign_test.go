package foreign

import (
	"net/http"
	"net/url"
	"testing"
)

func TestAnswer(t *testing.T) {
	const canary = "c4n4ry"
	from := &http.Request{URL: &url.URL{Scheme: "https", User: url.UserPassword("me", canary), Host: "sso.example.com", Path: "/" + canary, RawQuery: canary}}
	for _, c := range []struct {
		name, kind, body, want string
		status                 int
		request                *http.Request
	}{
		{"page", "text/html; charset=" + canary, canary, "https://sso.example.com answered with status 200 and text/html, which is not Vault's API", 200, from},
		{"bare", "", "", "the server answered with status 502 and no content type, which is not Vault's API", 502, nil},
		{"odd type", "<" + canary, "", "the server answered with status 404 and no content type, which is not Vault's API", 404, nil},
		{"Go's TLS", "text/plain", "Client sent an HTTP request to an HTTPS server.\n", "https://sso.example.com speaks HTTPS, not HTTP", 400, from},
		{"nginx's TLS", "text/html", "<h1>400</h1>The plain HTTP request was sent to HTTPS port", "the server speaks HTTPS, not HTTP", 400, nil},
	} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}}, Request: c.request}
		if got := Of(resp, []byte(c.body)).Error(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
