package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// upstream is Vault: one shared transport, with the few repetitions that do no harm.
type upstream struct {
	base        *url.URL // scheme, host and perhaps a path in front
	transport   http.RoundTripper
	wire        *wire       // for ordinary requests to base; nil = transport takes them all
	headers     http.Header // added where the client says nothing
	redirects   bool
	retries     int
	retryFor    time.Duration
	retryStale  bool // repeat 412
	firstPause  time.Duration
	idleCloser  func()
	unixAddress bool
	absolute    bool // a proxy in between wants the whole URL in each request line
}

// newUpstream takes address, TLS and transport from the api client.
func newUpstream(cfg *Config) (*upstream, error) {
	settings := cfg.Client.CloneConfig()
	base, err := url.Parse(cfg.Client.Address())
	if err != nil {
		return nil, errors.New("vault's address cannot be read")
	}
	u := &upstream{
		base: base, redirects: !cfg.NoRedirects && !settings.DisableRedirects,
		retries: cfg.Retries, retryFor: cfg.RetryFor, retryStale: cfg.Inconsistent == Retry,
		firstPause: 50 * time.Millisecond, idleCloser: func() {},
		unixAddress: strings.HasPrefix(settings.Address, "unix://"),
		headers:     cfg.Client.Headers(),
	}
	for _, ours := range []string{headerToken, headerNamespace, headerRequest, headerWrapTTL} {
		u.headers.Del(ours)
	}
	u.transport = settings.HttpClient.Transport
	if t, ok := u.transport.(*http.Transport); ok {
		t = t.Clone()
		t.DisableCompression = true              // bytes pass as they are
		t.MaxIdleConns, t.MaxConnsPerHost = 0, 0 // the listeners bound what comes in
		t.ExpectContinueTimeout = time.Second
		if t.MaxIdleConnsPerHost >= 0 { // else none are to be kept
			t.MaxIdleConnsPerHost = 256
		}
		// The client's own HTTP/2 set-up is bound to its transport: let ours make its own.
		t.TLSNextProto, t.ForceAttemptHTTP2 = nil, true
		if t.TLSClientConfig != nil {
			t.TLSClientConfig.NextProtos = nil
		}
		u.transport, u.idleCloser = t, t.CloseIdleConnections
		u.wire = newWire(t, base)
		by, err := between(t, base)
		u.absolute = err == nil && by != nil && base.Scheme == "http" && strings.HasPrefix(by.Scheme, "http")
	}
	if base.User != nil {
		password, _ := base.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(base.User.Username() + ":" + password))
		u.headers["Authorization"] = []string{"Basic " + basic}
	}
	return u, nil
}

// between is the proxy between t and base; nil = none.
func between(t *http.Transport, base *url.URL) (*url.URL, error) {
	if t.Proxy == nil {
		return nil, nil
	}
	return t.Proxy(&http.Request{URL: base})
}

// close ends idle connections.
func (u *upstream) close() {
	u.idleCloser()
	if u.wire != nil {
		u.wire.close()
	}
}

// send sends r once.
func (u *upstream) send(r *http.Request) (*http.Response, error) {
	if u.wire != nil && r.URL.Host == u.base.Host && r.URL.Scheme == u.base.Scheme && suits(r) {
		return u.wire.RoundTrip(r)
	}
	if key := "X-Idempotency-Key"; r.Method == "LIST" && r.Header[key] == nil {
		r.Header[key] = nil // is not sent: net/http repeats over a new connection what has it, as it does a GET
	}
	return u.transport.RoundTrip(r)
}

// maxRedirects is how many nodes further a request is carried.
const maxRedirects = 2

const maxPause = 500 * time.Millisecond

// RoundTrip sends r, follows redirects to other nodes, and repeats what may be repeated.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	replayable := r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
	var started time.Time
	for try, hops := 0, 0; ; {
		resp, err := u.send(r)
		next := u.follow(r, resp, replayable && hops < maxRedirects)
		switch {
		case next != nil:
			hops++
			discard(resp)
			r = next
			continue
		case !replayable || try >= u.retries || !u.worthRetry(r, resp, err, try):
			return resp, err
		}
		if started.IsZero() {
			started = time.Now()
		} else if time.Since(started) > u.retryFor {
			return resp, err
		}
		if pause(r.Context(), min(u.firstPause<<min(try, 8), maxPause)) != nil {
			return resp, err
		}
		again, failed := rewind(r)
		if failed != nil {
			return resp, err
		}
		discard(resp)
		try, r = try+1, again
	}
}

// maxRepeats is how often Vault is asked again after it said that it failed: a sealed
// one says so for long, and that is news.
const maxRepeats = 2

// worthRetry: nothing was sent, or sending it again does no harm.
func (u *upstream) worthRetry(r *http.Request, resp *http.Response, err error, try int) bool {
	if r.Context().Err() != nil {
		return false
	}
	if err == nil {
		switch resp.StatusCode {
		case http.StatusPreconditionFailed:
			return u.retryStale
		case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			// The status of a health check is its answer.
			return try < maxRepeats && idempotent(r.Method) && !strings.HasSuffix(r.URL.Path, "/sys/health")
		}
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	return idempotent(r.Method)
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "LIST":
		return true
	}
	return false
}

// follow returns the request that a redirect to another node asks for, nil when
// there is none or the client must follow it itself.
func (u *upstream) follow(r *http.Request, resp *http.Response, may bool) *http.Request {
	if resp == nil || !may || !u.redirects || u.unixAddress {
		return nil
	}
	switch resp.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	case http.StatusMovedPermanently, http.StatusFound:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return nil
		}
	default:
		return nil
	}
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || to.Host == "" || r.URL.Scheme == "https" && to.Scheme != "https" || to.Scheme != "http" && to.Scheme != "https" {
		return nil
	}
	next, err := rewind(r)
	if err != nil {
		return nil
	}
	next.URL, next.Host = to, ""
	return next
}

// rewind returns r to be sent once more.
func rewind(r *http.Request) (*http.Request, error) {
	again := r.WithContext(r.Context())
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	return again, nil
}

// discard gives the connection of an answer nobody wants back to the pool.
func discard(resp *http.Response) {
	if resp == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

// pause waits d with full jitter above its half.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + time.Duration(rand.Int64N(int64(d/2)+1)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
