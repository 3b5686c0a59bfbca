package proxy

import (
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
	if r.ContentLength != 0 && r.Body != nil {
		r = g.guardBody(w, r)
	}
	if r.ProtoMajor == 2 {
		patient := &stallWriter{w, http.NewResponseController(w), g.l.StallTimeout}
		defer patient.begin() // the server sends the rest
		w = patient
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
	if v := r.Header[headerRequest]; g.l.RequireHeader && (len(v) != 1 || v[0] != "true") {
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
	g.proxy.serve(w, r, g.l)
}

// guardBody bounds how long and how large r's body may be, also for who answers without
// reading it: the server itself reads what is left.
func (g *gate) guardBody(w http.ResponseWriter, r *http.Request) *http.Request {
	own := *r // the server must find its request's body as it was: what is left unread it judges by that
	body := &stallBody{r.Body, http.NewResponseController(w), g.l.StallTimeout}
	body.begin()
	own.Body = body
	if limit := g.l.MaxRequestSize; limit > 0 {
		own.Body = http.MaxBytesReader(w, own.Body, limit)
	}
	return &own
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
