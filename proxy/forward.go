package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
)

// newForwarder builds the streaming road to Vault. Every request on it carries its
// *call in its context.
func (p *Proxy) newForwarder() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      p.upstream,
		ModifyResponse: p.inspect,
		ErrorHandler:   p.failed,
		BufferPool:     &p.buffers,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// rewrite makes the outgoing request: Vault's address, path and query byte for byte.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	in, out, c := pr.In, pr.Out, callOf(pr.In.Context())
	p.aim(out)
	out.URL.RawQuery, out.URL.ForceQuery = in.URL.RawQuery, in.URL.ForceQuery
	if raw, _, _ := strings.Cut(in.RequestURI, "?"); p.upstream.base.Path == "" && strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") && raw != in.URL.EscapedPath() {
		out.URL.Opaque = raw // a spelling that package url would change
	}
	if c.kept {
		out.TransferEncoding = nil
		if body := c.body; len(body) > 0 {
			out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
	}
	for name, values := range p.upstream.headers {
		if _, said := out.Header[name]; !said {
			out.Header[name] = values
		}
	}
	if p.cfg.UserAgent != "" {
		agent := p.cfg.UserAgent
		if theirs := in.UserAgent(); theirs != "" {
			agent += "; " + theirs
		}
		out.Header["User-Agent"] = []string{agent}
	}
	p.states.send(out.Header)
}

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

// inspect sees every answer before the client does.
func (p *Proxy) inspect(resp *http.Response) error {
	c := callOf(resp.Request.Context())
	p.states.learn(resp.Header)
	switch {
	case resp.StatusCode == http.StatusForbidden && c.token != "":
		p.heal(resp, c)
	case resp.StatusCode == http.StatusOK && p.cfg.AutoAuth:
		if err := p.strip(resp, c); err != nil {
			return err
		}
	}
	p.count(resp.StatusCode)
	return p.remember(resp, c)
}

// heal acts when Vault does not know a token any more: the session gets a new one,
// the cache forgets what hangs on it.
func (p *Proxy) heal(resp *http.Response, c *call) {
	head, whole := peek(resp, maxReplay)
	if !whole || !bytes.Contains(head, []byte("invalid token")) {
		return
	}
	if p.cache != nil {
		p.cache.Forget(c.token)
	}
	if c.own != nil && p.cfg.OnInvalidToken != nil {
		p.cfg.OnInvalidToken(*c.own)
	}
}

// peek reads at most limit bytes of the body and puts them back. whole: there is no more.
func peek(resp *http.Response, limit int64) (head []byte, whole bool) {
	if resp.ContentLength > limit {
		return nil, false
	}
	head, err := readAll(io.LimitReader(resp.Body, limit+1), resp.ContentLength)
	whole = err == nil && int64(len(head)) <= limit
	rest := io.Reader(resp.Body)
	switch {
	case err != nil:
		rest = failing{err}
	case whole:
		rest = http.NoBody
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	return head, whole
}

// readAll is io.ReadAll with a first guess at the size; negative = none.
func readAll(r io.Reader, guess int64) ([]byte, error) {
	if guess < 0 {
		return io.ReadAll(r)
	}
	b := bytes.NewBuffer(make([]byte, 0, guess+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// failing is the rest of a body that broke off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// failed answers when Vault did not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		p.stats.cancelled.Add(1)
		panic(http.ErrAbortHandler) // the client is gone, or we are ending
	}
	p.stats.failed.Add(1)
	if p.stale(w, callOf(r.Context())) {
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
	p.log.Warn("vault did not answer", "error", err)
	refuse(w, &refusal{http.StatusBadGateway, "vault cannot be reached"})
}

// refuse writes our own error in Vault's form.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if r, ok := errors.AsType[*refusal](err); ok {
		status = r.status
	}
	body, _ := json.Marshal(map[string][]string{"errors": {err.Error()}})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// forward sends r to Vault and streams the answer.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, c *call) {
	p.forwarder.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}
