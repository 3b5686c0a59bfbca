package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	maxIdle      = 256              // connections kept for later
	idleLife     = 30 * time.Second // how long; Vault itself keeps them for 5 minutes
	maxHeader    = 1 << 20          // bytes of an answer's header
	wireBuffer   = 4 << 10
	maxInterim   = 5 // 1xx answers before the real one
	interimFirst = 100
)

// wire speaks HTTP/1.1 to Vault in the caller's own goroutine: the transport of
// net/http hands each request to two others, which costs more than the rest of our
// work. It takes whole, ordinary requests to one address (see suits).
type wire struct {
	dial dial

	mu     sync.Mutex
	idle   []*line // the last used at the end
	closed bool
	reaper *time.Timer // nil = nothing is idle
}

// line is one connection; one request at a time.
type line struct {
	conn  net.Conn
	quiet func() bool // see newProbe
	limit limitReader
	r     *bufio.Reader
	w     *bufio.Writer
	since time.Time // idle
	used  bool      // carried a request before
}

// limitReader reads at most left bytes; negative = any number.
type limitReader struct {
	io.Reader
	left int64
}

var errLongHeader = errors.New("vault's answer has too long a header")

func (l *limitReader) Read(b []byte) (int, error) {
	if l.left < 0 {
		return l.Reader.Read(b)
	}
	if l.left == 0 {
		return 0, errLongHeader
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.Reader.Read(b)
	l.left -= int64(n)
	return n, err
}

// suits reports whether r is ordinary: all of its body is here, and it wants nothing
// of the connection.
func suits(r *http.Request) bool {
	whole := r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
	return whole && len(r.Header["Upgrade"])+len(r.Header["Expect"])+len(r.Header["Te"])+len(r.Trailer) == 0
}

// RoundTrip sends r once; twice only over an idle connection that turned out to be
// dead, when that is harmless.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		l, err := w.line(r.Context())
		if err != nil {
			return nil, err
		}
		again := l.used && idempotent(r.Method)
		resp, answered, err := w.exchange(l, r)
		if err == nil {
			return resp, nil
		}
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		if answered || !again {
			return nil, err
		}
		if r, err = rewind(r); err != nil {
			return nil, err
		}
	}
}

// exchange sends r over l. answered: something came back.
func (w *wire) exchange(l *line, r *http.Request) (resp *http.Response, answered bool, err error) {
	undo := context.AfterFunc(r.Context(), func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	l.limit.left = maxHeader
	sent := r.Write(l.w)
	if sent == nil {
		sent = l.w.Flush()
	}
	// Vault may have answered before it read all: that answer counts.
	for range maxInterim {
		if resp, err = http.ReadResponse(l.r, r); err != nil || resp.StatusCode >= 200 || resp.StatusCode < interimFirst {
			break
		}
	}
	answered = l.r.Buffered() > 0 || l.limit.left < maxHeader
	switch {
	case err == nil && resp.StatusCode < 200:
		err = errors.New("vault's answer is none")
	case err != nil && sent != nil:
		err = sent
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		err = errors.New("vault closed the connection before it answered")
	}
	if err != nil {
		undo()
		_ = l.conn.Close()
		return nil, answered, err
	}
	l.limit.left = -1
	body := &wireBody{ReadCloser: resp.Body, wire: w, line: l, undo: undo, reuse: sent == nil && !resp.Close}
	if resp.Body == http.NoBody || resp.ContentLength == 0 {
		body.end(true)
		resp.Body = http.NoBody
		return resp, true, nil
	}
	resp.Body = body
	return resp, true, nil
}

// wireBody gives its connection back when it was read to its end.
type wireBody struct {
	io.ReadCloser
	wire  *wire
	line  *line // nil = given back
	undo  func() bool
	reuse bool
}

func (b *wireBody) Read(p []byte) (int, error) {
	if b.line == nil {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(errors.Is(err, io.EOF))
	}
	return n, err
}

func (b *wireBody) ahead() bool { return b.line != nil && b.line.r.Buffered() > 0 }

func (b *wireBody) Close() error {
	b.end(false)
	return nil
}

func (b *wireBody) end(whole bool) {
	l := b.line
	if l == nil {
		return
	}
	b.line = nil
	// A cancelled request left its deadline behind.
	if b.undo() && whole && b.reuse && l.r.Buffered() == 0 {
		b.wire.keep(l)
		return
	}
	_ = l.conn.Close()
}

// line returns a connection, an idle one that still lives if there is one.
func (w *wire) line(ctx context.Context) (*line, error) {
	for {
		w.mu.Lock()
		n := len(w.idle)
		if n == 0 {
			w.mu.Unlock()
			break
		}
		l := w.idle[n-1]
		w.idle[n-1] = nil
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		if l.quiet() {
			return l, nil
		}
		_ = l.conn.Close()
	}
	conn, err := w.dial.open(ctx)
	if err != nil {
		return nil, err
	}
	l := &line{conn: conn, quiet: newProbe(conn), limit: limitReader{conn, -1}}
	l.r, l.w = bufio.NewReaderSize(&l.limit, wireBuffer), bufio.NewWriterSize(conn, wireBuffer)
	return l, nil
}

func (w *wire) keep(l *line) {
	l.since, l.used = time.Now(), true
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= maxIdle {
		_ = l.conn.Close()
		return
	}
	w.idle = append(w.idle, l)
	if w.reaper == nil {
		w.reaper = time.AfterFunc(idleLife, w.reap)
	}
}

// reap closes what was idle for too long.
func (w *wire) reap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := 0
	for old < len(w.idle) && time.Since(w.idle[old].since) >= idleLife {
		_ = w.idle[old].conn.Close()
		old++
	}
	w.idle = append(w.idle[:0:0], w.idle[old:]...)
	w.reaper = nil
	if len(w.idle) > 0 && !w.closed {
		w.reaper = time.AfterFunc(idleLife, w.reap)
	}
}

// close ends all idle connections; those in use end with their requests.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.reaper != nil {
		w.reaper.Stop()
	}
	for _, l := range w.idle {
		_ = l.conn.Close()
	}
	w.idle = nil
}
