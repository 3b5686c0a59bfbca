package proxy

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// plainRequest is a request that nobody could read in two ways: HTTP/1.1 as RFC 9112 has
// it, by far not all that it allows. No header is about the connection or the framing but
// one Content-Length, none is one that the server rewrites, and the target needs no decoding.
type plainRequest struct {
	method, target, path, query string

	host    string
	length  int64 // of the body
	body    []byte
	names   [maxPlainHeaders]string // in canonical form
	values  [maxPlainHeaders]string
	headers int

	request http.Request
	url     url.URL
}

const (
	maxPlainHeaders = 24
	maxPlainBody    = 99999
)

// class says which bytes may be where.
type class [256]bool

func classOf(bytes string) (c class) {
	for _, b := range []byte(bytes) {
		c[b] = true
	}
	return c
}

func (c *class) holds(s string) bool {
	for i := range len(s) {
		if !c[s[i]] {
			return false
		}
	}
	return true
}

const (
	digits = "0123456789"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower  = "abcdefghijklmnopqrstuvwxyz"
)

var (
	methodBytes = classOf(upper)
	nameBytes   = classOf(digits + upper + lower + "-")
	hostBytes   = classOf(digits + upper + lower + "-.:[]")
	pathBytes   = classOf(digits + upper + lower + "-._~/")
	queryBytes  = classOf(digits + upper + lower + "-._~=&")
	numberBytes = classOf(digits)
	valueBytes  = func() (c class) {
		for b := byte(' '); b < 0x7f; b++ {
			c[b] = true
		}
		return c
	}()
)

// read takes a request from the beginning of raw, whose head must be there whole. size is
// the request's, with its body, which may be longer or shorter than raw. q is valid until
// raw changes or the next read.
func (q *plainRequest) read(raw []byte) (size int64, ok bool) {
	text := string(raw)
	line, rest, ok := strings.Cut(text, "\r\n")
	method, line, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(line, " ")
	path, query, asked := strings.Cut(target, "?")
	switch {
	case !ok || !ok1 || !ok2 || version != "HTTP/1.1" || method == "" || asked && query == "":
		return 0, false
	case !strings.HasPrefix(path, "/v1/") || !methodBytes.holds(method) || !pathBytes.holds(path) || !queryBytes.holds(query):
		return 0, false
	}
	q.method, q.target, q.path, q.query = method, target, path, query
	if rest, ok = q.readHeaders(rest); !ok {
		return 0, false
	}
	head := len(text) - len(rest)
	size = int64(head) + q.length
	q.body = raw[head:min(int64(len(raw)), size)]
	return size, true
}

// readHeaders reads them up to the empty line; rest is what follows it.
func (q *plainRequest) readHeaders(text string) (rest string, ok bool) {
	sized := false
	q.host, q.length, q.headers = "", 0, 0
	for line := ""; ; {
		if line, text, ok = strings.Cut(text, "\r\n"); !ok || line == "" {
			return text, ok && q.host != ""
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " ")
		if !ok || name == "" || !nameBytes.holds(name) || !valueBytes.holds(value) {
			return "", false
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Connection", "Transfer-Encoding", "Expect", "Pragma": // net/http makes Cache-Control of the last
			return "", false
		case "Host":
			if q.host != "" || value == "" || !hostBytes.holds(value) {
				return "", false
			}
			q.host = value
		case "Content-Length":
			n, err := strconv.ParseInt(value, 10, 64)
			if sized || err != nil || !numberBytes.holds(value) || n > maxPlainBody {
				return "", false
			}
			sized, q.length = true, n
		default:
			if q.headers == maxPlainHeaders {
				return "", false
			}
			q.names[q.headers], q.values[q.headers] = name, value
			q.headers++
		}
	}
}

// http is q as the server would hand it on, but for its body and its context; nil when a
// header comes twice.
func (q *plainRequest) http() *http.Request {
	h := q.request.Header
	if clear(h); h == nil {
		h = http.Header{}
	}
	for i := range q.headers {
		if _, twice := h[q.names[i]]; twice {
			return nil
		}
		h[q.names[i]] = q.values[i : i+1 : i+1]
	}
	q.url = url.URL{Path: q.path, RawQuery: q.query}
	q.request = http.Request{
		Method: q.method, URL: &q.url, RequestURI: q.target, Header: h, Host: q.host, ContentLength: q.length,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	return &q.request
}
