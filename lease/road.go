package lease

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/time/rate"

	"github.com/envexec/envexec/internal/foreign"
)

// Headers of Vault's own.
const (
	headerToken     = "X-Vault-Token"
	headerNamespace = "X-Vault-Namespace"
)

// road is where requests go: the api client's settings, read once. The client's own
// way of sending builds a retrying client for every request, which costs more than
// the request.
type road struct {
	address   *url.URL
	transport http.RoundTripper
	header    http.Header // of every request: the user's, and Vault's mark of an API request
	limiter   *rate.Limiter
	timeout   time.Duration // for one request; 0 = none of its own
	srv       bool
	redirects bool
}

func newRoad(client *api.Client, redirects bool) (road, error) {
	settings := client.CloneConfig()
	address, err := url.Parse(client.Address())
	if err != nil {
		return road{}, errors.New("vault's address is no URL") // it may hold a password
	}
	r := road{
		address: address, transport: settings.HttpClient.Transport, header: client.Headers(),
		limiter: settings.Limiter, timeout: settings.Timeout,
		srv: settings.SRVLookup && address.Port() == "", redirects: redirects,
	}
	r.header.Del(headerToken)
	if r.transport == nil {
		r.transport = http.DefaultTransport
	}
	return r, nil
}

// namespace is the client's own with relative below it; base, if not empty, stands for the client's.
func (r *road) namespace(base, relative string) string {
	if base == "" {
		base = r.header.Get(headerNamespace)
	}
	if relative = strings.Trim(relative, "/"); relative == "" {
		return base
	}
	return strings.TrimPrefix(strings.Trim(base, "/")+"/"+relative, "/")
}

// outgoing is one request.
type outgoing struct {
	method, path     string // path below /v1/
	token, namespace string
	query            url.Values
	body             []byte // nil = none
}

// send makes one request; the answer of a standby that names the active server is
// followed once. The caller closes the answer's body.
func (r *road) send(ctx context.Context, c outgoing) (*http.Response, error) {
	if r.limiter != nil {
		if err := r.limiter.Wait(ctx); err != nil {
			return nil, fmt.Errorf("wait for the rate limit: %w", err)
		}
	}
	req := r.request(ctx, c)
	resp, err := r.transport.RoundTrip(req)
	if err != nil || !r.redirects || !redirected(resp.StatusCode) {
		return resp, plain(err)
	}
	to, err := resp.Location()
	if err != nil || req.URL.Scheme == "https" && to.Scheme != "https" {
		return resp, nil //nolint:nilerr // a redirection is no answer: the caller says so
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	again := r.request(ctx, c)
	again.URL, again.Host = to, to.Host
	resp, err = r.transport.RoundTrip(again)
	return resp, plain(err)
}

func (r *road) request(ctx context.Context, c outgoing) *http.Request {
	header := make(http.Header, len(r.header)+2)
	for name, values := range r.header {
		header[name] = values
	}
	if c.token != "" {
		header[headerToken] = []string{c.token}
	}
	delete(header, headerNamespace)
	if c.namespace != "" {
		header[headerNamespace] = []string{c.namespace}
	}
	u := *r.address
	u.Host = r.host(ctx)
	u.Path, u.RawQuery = path.Join("/", u.Path, "v1", c.path), c.query.Encode()
	req := &http.Request{
		Method: c.method, URL: &u, Host: r.address.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if c.body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
	}
	return req.WithContext(ctx)
}

// host is the address's own, or the first that its SRV record names.
func (r *road) host(ctx context.Context) string {
	if r.srv {
		_, found, err := net.DefaultResolver.LookupSRV(ctx, "http", "tcp", r.address.Hostname())
		if err == nil && len(found) > 0 {
			return fmt.Sprintf("%s:%d", found[0].Target, found[0].Port)
		}
	}
	return r.address.Host
}

func redirected(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// plain says in words what a TLS error hides most often, and quotes nothing the server sent.
func plain(err error) error {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
		return fmt.Errorf("the server speaks HTTP, not HTTPS: %w", err)
	}
	return foreign.Unquoted(err)
}
