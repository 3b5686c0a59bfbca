package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/envexec/envexec/internal/rawconn"
)

// stallListener gives up on clients that take nothing of an answer for too long.
type stallListener struct {
	net.Listener
	limit time.Duration
}

func (l *stallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stallConn{rawconn.Of(conn), l.limit}, nil
}

type stallConn struct {
	net.Conn
	limit time.Duration
}

// maxStallWrite is the most that has to move in the limit, in bytes.
const maxStallWrite = 32 << 10

func (c *stallConn) Write(b []byte) (int, error) {
	for n := 0; ; {
		_ = c.SetWriteDeadline(time.Now().Add(c.limit))
		more, err := c.Conn.Write(b[n:min(n+maxStallWrite, len(b))])
		if n += more; err != nil || n == len(b) {
			return n, err
		}
	}
}

// CloseWrite lets the server end an answer before it closes a connection it did not read to its end.
func (c *stallConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// stallBody gives up on a request's body of which nothing comes for too long. A
// large body may take any time.
type stallBody struct {
	io.ReadCloser
	control *http.ResponseController
	limit   time.Duration
	begun   bool // the next read has a deadline
}

func (b *stallBody) begin() {
	_ = b.control.SetReadDeadline(time.Now().Add(b.limit))
	b.begun = true
}

func (b *stallBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begin()
	}
	b.begun = false
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{}) // the server goes on reading to see the client leave
	}
	return n, err
}

// stallWriter gives up on a client of HTTP/2 that takes nothing of an answer for too
// long: it holds back one stream while the connection goes on.
type stallWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
}

func (w *stallWriter) begin() { _ = w.control.SetWriteDeadline(time.Now().Add(w.limit)) }

// end takes the limit away: between two writes an answer may take any time.
func (w *stallWriter) end() { _ = w.control.SetWriteDeadline(time.Time{}) }

func (w *stallWriter) Write(b []byte) (int, error) {
	w.begin()
	defer w.end()
	return w.ResponseWriter.Write(b)
}

func (w *stallWriter) Flush() {
	w.begin()
	defer w.end()
	_ = w.control.Flush()
}
