package authtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
)

// Request is one login as it reached the server.
type Request struct {
	Path   string // below /v1/
	Token  string // X-Vault-Token; a given token's lookup has one
	Header http.Header
	Body   map[string]any
	// ClientName is the common name of the client's certificate, unverified.
	ClientName string
}

// Vault is the suite's server.
type Vault struct {
	Server *httptest.Server

	mu     sync.Mutex
	check  func(Request) error
	mode   mode
	ttl    int
	logins int
	held   chan struct{} // one value for each login that hangs
	done   chan struct{} // closed when hanging requests may end
	errs   []string      // what check said
}

type mode int

const (
	answers mode = iota
	hangs
	html
	truncated
	empty
	badGateway // not Vault's, and it echoes the request
	unavailable
)

func newVault(t *testing.T, tls bool) *Vault {
	t.Helper()
	v := &Vault{ttl: 3600, held: make(chan struct{}, 100), done: make(chan struct{})}
	v.Server = httptest.NewUnstartedServer(v)
	if tls {
		v.Server.TLS = requestClientCert()
		v.Server.StartTLS()
	} else {
		v.Server.Start()
	}
	t.Cleanup(func() {
		close(v.done)
		v.Server.Close()
	})
	return v
}

// Client returns a client of the server, as the session would get it.
func (v *Vault) Client(t *testing.T) *api.Client {
	t.Helper()
	c := api.DefaultConfig()
	c.Address, c.AgentAddress, c.MaxRetries = v.Server.URL, "", 0
	c.HttpClient = v.Server.Client()
	client, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	client.ClearToken()
	client.SetNamespace("team/a")
	return client
}

func (v *Vault) set(m mode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mode = m
}

func (v *Vault) setTTL(seconds int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ttl = seconds
}

func (v *Vault) seen() (logins int, refused string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.logins, strings.Join(v.errs, "; ")
}

// ServeHTTP implements http.Handler.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	req := Request{Path: strings.TrimPrefix(r.URL.Path, "/v1/"), Token: r.Header.Get("X-Vault-Token"), Header: r.Header}
	_ = json.Unmarshal(raw, &req.Body)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		req.ClientName = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	if strings.HasSuffix(req.Path, "renew-self") || strings.HasSuffix(req.Path, "revoke-self") {
		refuse(w, http.StatusForbidden, "permission denied") // a thin policy: replaced, not renewed
		return
	}
	v.mu.Lock()
	v.logins++
	n, ttl, mode, check := v.logins, v.ttl, v.mode, v.check
	v.mu.Unlock()
	if mode == hangs {
		v.held <- struct{}{}
		select {
		case <-v.done:
		case <-r.Context().Done():
		}
		return
	}
	if garbage(w, mode, raw, req) {
		return
	}
	if r.Header.Get("X-Vault-Namespace") != "team/a" {
		refuse(w, http.StatusNotFound, "namespace lost")
		return
	}
	if err := check(req); err != nil {
		v.mu.Lock()
		v.errs = append(v.errs, err.Error())
		v.mu.Unlock()
		what := "permission denied"
		if strings.HasSuffix(req.Path, "lookup-self") {
			what = "invalid token"
		}
		refuse(w, http.StatusForbidden, what+": "+string(raw)+" "+req.Token) // an indiscreet server
		return
	}
	answer := map[string]any{"auth": map[string]any{
		"client_token": fmt.Sprintf("hvs.login-%d", n), "accessor": "accessor", "lease_duration": ttl, "renewable": true, "token_type": "service", "num_uses": 0,
	}}
	if strings.HasSuffix(req.Path, "lookup-self") {
		answer = map[string]any{"data": map[string]any{"id": req.Token, "ttl": ttl, "renewable": true, "type": "service", "policies": []string{"default"}}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func garbage(w http.ResponseWriter, m mode, raw []byte, req Request) bool {
	switch m {
	case html:
		_, _ = w.Write([]byte("<html>captive portal " + string(raw) + req.Token))
	case truncated:
		_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.half`))
	case empty:
		_, _ = w.Write([]byte(`{"data":{}}`))
	case badGateway:
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("bad gateway for " + string(raw) + req.Token))
	case unavailable:
		refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
	default:
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
}
