package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
)

// forward sends r to Vault and streams the answer. r's headers are used up.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, c *call) {
	if len(r.Header["Upgrade"]) > 0 {
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		c.fill(r)
		p.upgrader.ServeHTTP(w, r)
		return
	}
	out := c.outgoing(r)
	lent, _ := out.Body.(*lentBody)
	if lent != nil {
		defer lent.ended.Store(true)
	}
	p.rewrite(out, c)
	resp, err := p.upstream.RoundTrip(out)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols { // net/http's transport lets it pass
		_ = resp.Body.Close()
		err = errors.New("it switches to a protocol that nobody asked for")
	}
	if err == nil {
		dropHopByHop(resp.Header)
		if err = p.inspect(resp, c); err != nil {
			_ = resp.Body.Close()
		}
	}
	if err != nil {
		if broken := lent.fault(); broken != nil && (r.Context().Err() == nil || errors.Is(broken, os.ErrDeadlineExceeded)) {
			refuse(w, bodyError(broken))
			return
		}
		p.failed(w, r, c, err)
		return
	}
	p.answer(w, resp)
}

// outgoing begins the request to Vault: r's method, headers and body.
func (c *call) outgoing(r *http.Request) *http.Request {
	both := &struct {
		request http.Request
		url     url.URL
	}{*r, *r.URL}
	out := &both.request
	out.URL, out.Close = &both.url, false
	trailers := headerHolds(out.Header["Te"], "trailers")
	dropHopByHop(out.Header)
	if trailers {
		out.Header["Te"] = []string{"trailers"}
	}
	for _, name := range forwarding {
		delete(out.Header, name)
	}
	c.fill(out)
	return out
}

// forwarding headers say whom a request comes from; ours comes from us.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// lentBody is the client's body in the hands of the transport, which may go on
// reading it after the answer came. Only our server closes it.
type lentBody struct {
	io.Reader
	ended  atomic.Bool
	broken atomic.Pointer[error] // what the client's side failed with
}

func (b *lentBody) Read(p []byte) (int, error) {
	if b.ended.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken.Store(&err)
	}
	return n, err
}

// fault is what the client's side failed with; nil = nothing, or there is no such body.
func (b *lentBody) fault() error {
	if b == nil || b.broken.Load() == nil {
		return nil
	}
	return *b.broken.Load()
}

func (b *lentBody) Close() error {
	b.ended.Store(true)
	return nil
}

// rewrite turns the client's request into the one Vault gets: its address, path and
// query byte for byte.
func (p *Proxy) rewrite(out *http.Request, c *call) {
	raw, _, _ := strings.Cut(out.RequestURI, "?")
	p.aim(out)
	if p.upstream.base.Path == "" && strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		out.URL.Opaque = unspaced(raw) // package url would spell some differently
		if p.upstream.absolute {
			out.URL.Opaque = "//" + out.URL.Host + out.URL.Opaque
		}
	}
	out.URL.RawQuery = unspaced(out.URL.RawQuery)
	if c.kept {
		out.TransferEncoding, out.Trailer = nil, nil
		delete(out.Header, "Expect") // the client has sent it all
		if body := c.body; len(body) > 0 {
			out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
	}
	for name, values := range p.upstream.headers {
		if _, said := out.Header[name]; !said {
			out.Header[name] = values
		}
	}
	switch theirs := out.Header["User-Agent"]; {
	case p.cfg.UserAgent != "" && len(theirs) > 0 && theirs[0] != "":
		out.Header["User-Agent"] = []string{p.cfg.UserAgent + "; " + theirs[0]}
	case p.cfg.UserAgent != "" || len(theirs) == 0: // else the library would add its own
		out.Header["User-Agent"] = []string{p.cfg.UserAgent}
	}
	p.states.send(out.Header)
}

// unspaced is a part of a request's target as HTTP/1.1 can carry it: HTTP/2 lets spaces through.
func unspaced(s string) string { return strings.ReplaceAll(s, " ", "%20") }

// aim points a request that only has a path at Vault.
func (p *Proxy) aim(out *http.Request) {
	base := p.upstream.base
	out.URL.Scheme, out.URL.Host, out.Host = base.Scheme, base.Host, ""
	if prefix := strings.TrimSuffix(base.Path, "/"); prefix != "" {
		if out.URL.RawPath != "" {
			out.URL.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + out.URL.RawPath
		}
		out.URL.Path = prefix + out.URL.Path
	}
}

// dropHopByHop deletes what concerns one connection only (RFC 9110, 7.6.1).
func dropHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			delete(h, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for name := range h {
		switch name {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			delete(h, name)
		}
	}
}

// headerHolds reports whether a list header holds token.
func headerHolds(lists []string, token string) bool {
	for _, list := range lists {
		for one := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// newUpgrader builds the road of requests that leave HTTP, as event websockets do.
// Each carries its *call in its context.
func (p *Proxy) newUpgrader() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.RawQuery, pr.Out.URL.ForceQuery = pr.In.URL.RawQuery, pr.In.URL.ForceQuery
			p.rewrite(pr.Out, callOf(pr.In.Context()))
		},
		Transport:      p.upstream,
		ModifyResponse: func(resp *http.Response) error { return p.inspect(resp, callOf(resp.Request.Context())) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p.failed(w, r, callOf(r.Context()), err)
		},
		BufferPool: &p.buffers,
		ErrorLog:   slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// failed answers when Vault did not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, c *call, err error) {
	if r.Context().Err() != nil {
		p.stats.cancelled.Add(1)
		panic(http.ErrAbortHandler) // the client is gone, or we are ending
	}
	p.stats.failed.Add(1)
	if p.stale(w, c) {
		return
	}
	if own, ok := errors.AsType[*refusal](err); ok {
		refuse(w, own)
		return
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		refuse(w, bodyError(err))
		return
	}
	what, _, _ := strings.Cut(err.Error(), `"`) // there package http begins to quote the answer: it may hold a secret
	p.log.Warn("vault did not answer", "error", what)
	refuse(w, &refusal{http.StatusBadGateway, "vault cannot be reached"})
}
