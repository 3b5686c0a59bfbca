package foreign

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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

// TestUnquoted: package net/http's own errors, of answers with a secret where none may be.
func TestUnquoted(t *testing.T) {
	const canary = "hvs.c4n4ry"
	for _, answer := range []string{
		canary + "\r\n\r\n", "HTTP/1.1 " + canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\nA: " + canary + "\x00\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
	} {
		_, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err == nil || !strings.Contains(err.Error(), canary) {
			t.Fatalf("%q: %v", answer, err)
		}
		whole := fmt.Errorf("Get %q: %w", "http://vault", err)
		if got := Unquoted(whole); strings.Contains(got.Error(), canary) || !strings.HasPrefix(got.Error(), `Get "http://vault": `) || !errors.Is(got, err) {
			t.Errorf("%q becomes %q", whole, got)
		}
	}
	if err := errors.New(`x509: "a" is malformed`); Unquoted(err).Error() != err.Error() || Unquoted(nil) != nil {
		t.Errorf("another error was changed: %v", Unquoted(err))
	}
}
