package proxy

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// hitListener gives out connections on which hits are answered before the server reads
// their requests: it costs the server more to read and answer one than to find it.
type hitListener struct {
	net.Listener
	gate *gate
}

func (l *hitListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &hitConn{Conn: conn, gate: l.gate, between: true}, nil
}

// hitConn answers a request by itself when the server waits for one, this one has come
// whole and alone, is plain (see plainRequest), and is a hit. Everything else the server gets as
// it came. Between two requests it must be certain that the server holds nothing of the
// next: it counts what it gives out, and stops answering for good when it cannot tell.
//
// The server's own goroutines call it, one at a time.
type hitConn struct {
	net.Conn
	gate    *gate
	between bool   // the server waits for the whole head of a request
	given   []byte // what it has of that head already
	missing int64  // of the request the server reads, not given out yet; negative = it has more
	lost    bool   // nobody can tell any more
	served  bool   // the server had the first request, and knows the connection

	plain   plainRequest
	answer  hitAnswer
	renewed time.Time // the idle deadline
}

// state is the server's ConnState. HTTP/2, which is lost at its first, calls it beside Read.
func (c *hitConn) state(s http.ConnState) {
	if s == http.StateIdle && !c.lost {
		c.between, c.served, c.renewed = true, true, time.Time{}
		c.lost = c.missing != 0
	}
}

func (c *hitConn) Read(b []byte) (int, error) {
	for {
		if c.lost {
			return c.Conn.Read(b)
		}
		if !c.between {
			return c.inside(b)
		}
		n, err := c.Conn.Read(b)
		whole := c.follow(b[:n])
		if !whole || err != nil || !c.served || !c.gate.hit(&c.plain, &c.answer) {
			return n, err
		}
		c.between = true
		if err := c.reply(); err != nil {
			return 0, err
		}
	}
}

// maxPlainHead is the largest head that is followed.
const maxPlainHead = 8 << 10

// follow notes where the request is with b, which comes next of it. whole: it is b, and plain.
func (c *hitConn) follow(b []byte) (whole bool) {
	here := b
	if len(c.given) > 0 {
		here = append(c.given, b...)
	}
	if !bytes.Contains(here, []byte("\r\n\r\n")) {
		c.give(b)
		return false
	}
	size, plain := c.plain.read(here)
	whole = plain && len(c.given) == 0
	c.between, c.given, c.missing = false, nil, size-int64(len(here))
	return whole && c.missing == 0
}

// give notes that the server has b of the next head.
func (c *hitConn) give(b []byte) {
	c.given = append(c.given, b...)
	if c.lost = len(c.given) > maxPlainHead; c.lost {
		c.given = nil
	}
}

// inside reads for a request that has begun: what is missing of it, then what the server
// looks for while it answers, which is whether the client leaves.
func (c *hitConn) inside(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.missing > 0 {
		c.missing -= int64(n)
	} else {
		c.give(b[:n])
	}
	return n, err
}

// reply sends the answer and gives the client the time between requests anew.
func (c *hitConn) reply() error {
	now := time.Now()
	if _, err := c.Conn.Write(c.answer.bytes(now)); err != nil {
		return err
	}
	if idle := c.gate.l.IdleTimeout; now.Sub(c.renewed) > idle/8 {
		c.renewed = now
		return c.SetReadDeadline(now.Add(idle))
	}
	return nil
}

// CloseWrite is stallConn's.
func (c *hitConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// hit finds the answer to q when the cache has one, and the server would give it.
func (g *gate) hit(q *plainRequest, a *hitAnswer) bool {
	p := g.proxy
	if p.draining.Load() || p.cache.Empty() || p.cfg.AutoAuth && p.session.current.Load() == nil {
		return false
	}
	r := q.http()
	if r == nil || !g.admits(r) {
		return false
	}
	if limit := g.l.MaxRequestSize; limit > 0 && r.ContentLength > limit {
		return false
	}
	c, err := p.identify(r, g.l)
	if err != nil || len(q.body) == 0 && r.Method != http.MethodGet {
		return false
	}
	c.body, c.kept = q.body, true
	if p.guardSelf(r, c) != nil {
		return false
	}
	a.reset()
	c.describe(r)
	c.describeBody(r)
	c.req.AtMost = maxHit
	if c.bypass || !p.cache.Serve(a, &c.req) || !a.sound() {
		return false
	}
	p.stats.requests.Add(1)
	return true
}

// hitAnswer is a whole answer of status 200.
type hitAnswer struct {
	header http.Header
	body   []byte
	out    []byte
}

// maxHit is the largest body of such an answer: the connection keeps its memory for the
// next, and the server, which takes the connection for idle, would at its end cut off one
// that the client is slow to take.
const maxHit = 16 << 10

func (a *hitAnswer) reset() {
	if clear(a.header); a.header == nil {
		a.header = http.Header{}
	}
	a.body = a.body[:0]
}

func (a *hitAnswer) Header() http.Header { return a.header }

func (a *hitAnswer) WriteHeader(int) {}

func (a *hitAnswer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// sound reports whether the headers can be sent as they are.
func (a *hitAnswer) sound() bool {
	for _, values := range a.header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				return false
			}
		}
	}
	return true
}

// bytes is the answer as it is sent.
func (a *hitAnswer) bytes(now time.Time) []byte {
	out := append(a.out[:0], "HTTP/1.1 200 OK\r\n"...)
	for name, values := range a.header {
		if name == "Content-Length" {
			continue
		}
		for _, v := range values {
			out = append(append(append(append(out, name...), ": "...), v...), "\r\n"...)
		}
	}
	out = now.UTC().AppendFormat(append(out, "Date: "...), http.TimeFormat)
	out = strconv.AppendInt(append(out, "\r\nContent-Length: "...), int64(len(a.body)), 10)
	a.out = append(append(out, "\r\n\r\n"...), a.body...)
	return a.out
}
