package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/envexec/envexec/lease/shared"
)

// health answers /live and /ready where Vault itself is not reached, so that no
// request for Vault is hidden; no guard, for probes cannot send headers.
func (g *gate) health(w http.ResponseWriter, r *http.Request, name string) bool {
	if g.vault || name != "live" && name != "ready" {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, &refusal{http.StatusMethodNotAllowed, "method is not supported"})
		return true
	}
	if name == "ready" {
		if err := g.proxy.ready(); err != nil {
			refuse(w, &refusal{http.StatusServiceUnavailable, err.Error()})
			return true
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return true
}

// ready reports why requests cannot be served yet.
func (p *Proxy) ready() error {
	if p.cfg.AutoAuth && p.session.current.Load() == nil {
		return errors.New("no login yet")
	}
	if p.cfg.Ready != nil {
		return p.cfg.Ready()
	}
	return nil
}

// own answers our endpoints; false when name is none of them here.
func (g *gate) own(w http.ResponseWriter, r *http.Request, name string) bool {
	switch {
	case name == "metrics" && g.l.Role != RoleProxyOnly:
		if r.Method != http.MethodGet {
			refuse(w, &refusal{http.StatusMethodNotAllowed, "method is not supported"})
			return true
		}
		g.proxy.serveStats(w, r)
	case name == "cache-clear" && g.admin:
		g.clear(w, r)
	case name == "quit" && g.admin && g.l.EnableQuit:
		g.quit(w, r)
	default:
		return false
	}
	return true
}

func (g *gate) quit(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, &refusal{http.StatusMethodNotAllowed, "method is not supported"})
		return
	}
	g.proxy.log.Info("a client asked to quit")
	w.WriteHeader(http.StatusOK)
	g.proxy.quit()
}

// clear drops entries of the cache as the request says.
func (g *gate) clear(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return // 200, as Vault's agent answers
	}
	var body struct{ Type, Value, Namespace string }
	if err := json.NewDecoder(io.LimitReader(r.Body, maxReplay)).Decode(&body); err != nil {
		refuse(w, &refusal{http.StatusBadRequest, "body is not what cache-clear takes: {\"type\": …, \"value\": …}"})
		return
	}
	if g.proxy.cache == nil {
		return
	}
	err := g.proxy.cache.Clear(shared.ClearType(body.Type), body.Value, strings.Trim(body.Namespace, "/"))
	switch {
	case errors.Is(err, shared.ErrNoValue):
		refuse(w, &refusal{http.StatusInternalServerError, err.Error()})
	case err != nil:
		refuse(w, &refusal{http.StatusBadRequest, err.Error()})
	}
}
