package proxy

import (
	"io"
	"net/http"
	"strings"
)

// gate is one listener's handler: who gets in, and to what.
type gate struct {
	proxy *Proxy
	l     *Listener
	admin bool // the admin endpoints are answered here
	vault bool // requests for Vault are
}

func (p *Proxy) newGate(l *Listener, adminElsewhere bool) *gate {
	return &gate{
		proxy: p, l: l,
		vault: l.Role == RoleDefault || l.Role == RoleProxyOnly,
		admin: l.Role == RoleAdmin || l.Role == RoleDefault && !adminElsewhere,
	}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := g.body(w, r)
	if r.ProtoMajor == 2 {
		patient := &stallWriter{w, http.NewResponseController(w), g.l.StallTimeout}
		defer patient.begin() // the server sends the rest
		w = patient
	} else if g.proxy.draining.Load() && len(r.Header["Upgrade"]) == 0 {
		w.Header()["Connection"] = []string{"close"} // else it is cut, perhaps while the client sends the next
	}
	if len(r.URL.Path) == 0 || r.Method == http.MethodConnect || strings.ContainsAny(r.Method, " \t") {
		refuse(w, &refusal{http.StatusMethodNotAllowed, "method is not supported"})
		return
	}
	if len(r.Header["Connection"]) > 0 {
		settleConnection(r.Header)
	}
	name, ours := ownPath(r.URL.Path)
	if ours && (g.l.Role != RoleProxyOnly) && g.health(w, r, name) {
		return
	}
	if !g.admits(r) {
		refuse(w, &refusal{http.StatusPreconditionFailed, "the listener's guard refuses this request"})
		return
	}
	if ours && g.own(w, r, name) {
		return
	}
	if !g.vault || ours && name != "live" && name != "ready" {
		refuse(w, &refusal{http.StatusNotFound, "not found"})
		return
	}
	if limit := g.l.MaxRequestSize; limit > 0 && r.ContentLength > limit {
		refuse(w, &refusal{http.StatusRequestEntityTooLarge, "request body is too large"})
		return
	}
	g.proxy.serve(w, r, body, g.l)
}

// admits reports whether r has the header the listener may want.
func (g *gate) admits(r *http.Request) bool {
	v := r.Header[headerRequest]
	return !g.l.RequireHeader || len(v) == 1 && v[0] == "true"
}

// body is r's body, bounded in time and size; nil = none. r.Body stays as it is: the server
// reads what is left of it, in the same time, and judges by it whether the client may go on.
func (g *gate) body(w http.ResponseWriter, r *http.Request) io.Reader {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	body := &stallBody{ReadCloser: r.Body, control: http.NewResponseController(w), limit: g.l.StallTimeout}
	body.begin()
	if limit := g.l.MaxRequestSize; limit > 0 {
		return http.MaxBytesReader(w, body, limit)
	}
	return body
}

// ownPath says whether path is one of our own endpoints and which.
func ownPath(path string) (name string, ours bool) {
	if strings.HasPrefix(path, "/v1/") { // nearly all
		return "", false
	}
	switch path {
	case "/live", "/ready":
		return path[1:], true
	}
	for _, prefix := range []string{"/proxy/v1/", "/agent/v1/"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return rest, true
		}
	}
	return "", false
}

// settleConnection takes away the headers that Connection says are for this hop only,
// before anybody looks at them: one that is judged here must not be lost on the way.
// Vault's own are for Vault, whatever Connection says.
func settleConnection(h http.Header) {
	var kept []string
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			switch {
			case name == "Upgrade":
				kept = []string{name}
			case name == "Authorization" || strings.HasPrefix(name, "X-Vault-") || name == "Cache-Control" || name == "Content-Type":
			default:
				delete(h, name)
			}
		}
	}
	if delete(h, "Connection"); kept != nil {
		h["Connection"] = kept
	}
}
