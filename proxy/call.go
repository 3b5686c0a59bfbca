package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/envexec/envexec/lease/shared"
	"github.com/envexec/envexec/secret"
)

// Headers of Vault's protocol, in canonical form: they index http.Header directly.
const (
	headerToken     = "X-Vault-Token"
	headerNamespace = "X-Vault-Namespace"
	headerRequest   = "X-Vault-Request"
	headerWrapTTL   = "X-Vault-Wrap-Ttl"
	headerIndex     = "X-Vault-Index"
	headerForward   = "X-Vault-Forward"
	headerStale     = "X-Vault-Inconsistent"
)

// maxReplay is the largest body that is kept to be sent again.
const maxReplay = 64 << 10

// call is one request on its way to Vault.
type call struct {
	method, path, query string // as the client wrote them
	form                bool   // the body says it is a form

	token  string        // what Vault will see; "" = none
	own    *secret.Token // token is the session's
	child  bool          // the client only showed the child's bearer
	ns     string        // namespace from the headers, without slashes at its ends
	body   []byte        // the whole body when kept
	kept   bool          // body is whole: the request can be sent again
	rest   io.Reader     // the body when it is not kept
	req    shared.Request
	bypass bool // the cache is not for this request
	flight *shared.Flight
	change *shared.Change // what the request may make stale
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// refusal is our own answer instead of Vault's.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// identify finds out who calls: the token Vault will see and the namespace.
// The request's headers are changed accordingly.
func (p *Proxy) identify(r *http.Request, l *Listener) (*call, error) {
	c := &call{
		method: r.Method, path: r.URL.Path, query: r.URL.RawQuery,
		form: strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/x-www-form-urlencoded"),
	}
	c.namespace(r, l.Namespace, p.cfg.PrependNamespace)
	shown := callerToken(r.Header)
	child := p.cfg.Child
	switch {
	case child != nil && shown != "" && same(shown, child.Token.Reveal()):
		c.child = true
		if err := child.allows(r, c.ns); err != nil {
			return nil, err
		}
		c.spellOut(r, child)
	case p.cfg.Lend == LendAlways, p.cfg.Lend == LendMissing && shown == "":
	default:
		c.token, c.own = shown, p.session.owns(shown)
		return c, nil
	}
	token, err := p.session.token(r.Context())
	if err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, "no login yet"}
	}
	c.token, c.own = token.ID.Reveal(), token
	dropBearers(r.Header)
	r.Header[headerToken] = []string{c.token}
	return c, nil
}

// callerToken reads the two ways a token is shown; Vault prefers the first.
func callerToken(h http.Header) string {
	if v := h[headerToken]; len(v) > 0 && v[0] != "" {
		return v[0]
	}
	for _, v := range h["Authorization"] {
		if rest, ok := strings.CutPrefix(v, "Bearer "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// dropBearers deletes the tokens in Authorization; what else is there is for a login.
func dropBearers(h http.Header) {
	rest := slices.DeleteFunc(h["Authorization"], func(v string) bool { return strings.HasPrefix(v, "Bearer ") })
	if delete(h, "Authorization"); len(rest) > 0 {
		h["Authorization"] = rest
	}
}

// namespace settles the namespace header.
func (c *call) namespace(r *http.Request, fixed, prepend string) {
	if v := r.Header[headerNamespace]; len(v) > 0 {
		c.ns = strings.Trim(v[0], "/")
	}
	if fixed == "" && prepend == "" {
		return
	}
	switch {
	case fixed != "":
		c.ns = fixed
	case c.ns == "":
		c.ns = prepend
	default:
		c.ns = prepend + "/" + c.ns
	}
	r.Header[headerNamespace] = []string{c.ns}
}

// keepBody reads a body of at most maxReplay bytes so that it can be looked at and sent
// again. nil = none; length as in http.Request.
func (c *call) keepBody(body io.Reader, length int64) error {
	switch {
	case body == nil:
	case length > maxReplay:
		c.rest = body
		return nil
	case length > 0:
		c.body = make([]byte, length)
		if _, err := io.ReadFull(body, c.body); err != nil {
			return bodyError(err)
		}
	default:
		read, err := io.ReadAll(io.LimitReader(body, maxReplay+1))
		if err != nil {
			return bodyError(err)
		}
		if len(read) > maxReplay {
			c.rest = io.MultiReader(bytes.NewReader(read), body)
			return nil
		}
		c.body = read
	}
	c.kept = true
	return nil
}

// fill gives out the body that is to be sent.
func (c *call) fill(out *http.Request) {
	switch {
	case !c.kept:
		out.Body = &lentBody{Reader: c.rest}
	case len(c.body) == 0:
		out.Body, out.ContentLength = nil, 0
	default:
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
	}
}

func bodyError(err error) error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &refusal{http.StatusRequestEntityTooLarge, "request body is too large"}
	}
	return &refusal{http.StatusBadRequest, "request body cannot be read"}
}
