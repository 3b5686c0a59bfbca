package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// inspect sees every answer before the client does.
func (p *Proxy) inspect(resp *http.Response, c *call) error {
	p.states.learn(resp.Header)
	if c.own != nil && p.cfg.OnUse != nil {
		p.cfg.OnUse(*c.own, resp.StatusCode)
	}
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

// answer streams resp to the client. What came so far is sent on when the next of it
// would have to be waited for and nobody knows how much it is.
func (p *Proxy) answer(w http.ResponseWriter, resp *http.Response) {
	defer resp.Body.Close()
	h := w.Header()
	maps.Copy(h, resp.Header)
	if _, told := h["Content-Type"]; !told {
		h["Content-Type"] = nil // else net/http guesses one
	}
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	if resp.Body == http.NoBody {
		w.WriteHeader(resp.StatusCode)
		return
	}
	stream := resp.ContentLength < 0
	begun := stream && !ahead(resp.Body)
	if begun {
		w.WriteHeader(resp.StatusCode)
		flush(w)
	}
	buffer := p.buffers.Get()
	defer p.buffers.Put(buffer)
	for {
		n, err := readHere(resp.Body, buffer)
		whole := errors.Is(err, io.EOF)
		if !begun {
			begun = true
			if stream && whole && len(resp.Trailer) == 0 {
				h["Content-Length"] = []string{strconv.Itoa(n)}
			}
			w.WriteHeader(resp.StatusCode)
		}
		if _, failed := w.Write(buffer[:n]); failed != nil || err != nil && !whole {
			panic(http.ErrAbortHandler) // the client must not take it for all
		}
		if stream && (!whole || len(resp.Trailer) > 0) {
			flush(w)
		}
		if whole {
			break
		}
	}
	_ = resp.Body.Close() // the trailers are complete then
	for name, values := range resp.Trailer {
		h[http.TrailerPrefix+name] = values
	}
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// ahead reports whether more of a body can be read without waiting, as far as it can tell.
func ahead(body io.Reader) bool {
	b, ok := body.(interface{ ahead() bool })
	return ok && b.ahead()
}

// readHere fills b with what is here of body, and waits only for the first of it.
func readHere(body io.Reader, b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		var more int
		more, err = body.Read(b[n:])
		if n += more; !ahead(body) && n > 0 {
			break
		}
	}
	return n, err
}

// peek reads at most limit bytes of the body and puts them back. whole: there is no more.
func peek(resp *http.Response, limit int64) (head []byte, whole bool) {
	if resp.ContentLength > limit {
		return nil, false
	}
	head, err := readAll(io.LimitReader(resp.Body, limit+1), resp.ContentLength)
	whole = err == nil && int64(len(head)) <= limit
	b := &peeked{head: head, rest: resp.Body, end: err}
	if whole {
		b.end = io.EOF
	}
	resp.Body = b
	return head, whole
}

// peeked is a body of which the head was read before.
type peeked struct {
	head []byte
	rest io.ReadCloser
	end  error // what comes after head; nil = rest
}

func (b *peeked) Read(p []byte) (n int, err error) {
	if n = copy(p, b.head); n > 0 {
		if b.head = b.head[n:]; len(b.head) > 0 || b.end == nil {
			return n, nil
		}
		return n, b.end
	}
	if b.end != nil {
		return 0, b.end
	}
	return b.rest.Read(p)
}

func (b *peeked) Close() error { return b.rest.Close() }

func (b *peeked) ahead() bool { return len(b.head) > 0 || b.end != nil || ahead(b.rest) }

// readAll is io.ReadAll with a first guess at the size; negative = none.
func readAll(r io.Reader, guess int64) ([]byte, error) {
	if guess < 0 {
		return io.ReadAll(r)
	}
	b := bytes.NewBuffer(make([]byte, 0, guess+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
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

// buffers lends copy buffers to streams.
type buffers struct{ pool sync.Pool }

const copyBuffer = 32 << 10

func (b *buffers) Get() []byte {
	if v, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return v[:]
	}
	return new([copyBuffer]byte)[:]
}

func (b *buffers) Put(v []byte) { b.pool.Put((*[copyBuffer]byte)(v)) }
