package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

// FuzzHandler: a whole request goes all the way, with a cache, to a Vault that tells what
// it saw. Whatever the request line, the headers and the body: without the header the
// listener wants nothing passes; the program's bearer never reaches Vault; the session's
// token goes only to the paths that are allowed, and is never told.
func FuzzHandler(f *testing.F) {
	const session = "hvs.session"
	for _, seed := range [][4]string{
		{"GET", "/v1/secret/data/app/x", "X-Vault-Request: true\r\nX-Vault-Token: BEARER\r\n", ""},
		{"PUT", "/v1/allowed/x?a=b", "X-Vault-Request: true\r\nAuthorization: Bearer BEARER\r\nX-Vault-Namespace: ns/../\r\n", `{"a":1}`},
		{"POST", "/v1/auth/token/lookup", "X-Vault-Request: true\r\nX-Vault-Token: BEARER\r\nConnection: X-Vault-Token\r\n", `{"token":"hvs.session"}`},
		{"GET", "/v1/allowed%2f..%2fother", "X-Vault-Request: true\r\nX-Vault-Token: BEARER\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		{"POST", "/proxy/v1/cache-clear", "X-Vault-Request: true\r\n", `{"type":"all"}`},
		{"LIST", "//v1/./allowed", "X-Vault-Token: BEARER\r\nX-Vault-Token: other\r\n", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	settings := api.DefaultConfig()
	settings.Address = "http://vault.invalid"
	client, err := api.NewClient(settings)
	if err != nil {
		f.Fatal(err)
	}
	child := &Child{Token: NewChildToken(), Paths: []string{"allowed/"}}
	bearer := child.Token.Reveal()
	p, err := New(Config{
		Client: client, AutoAuth: true, Child: child, Retries: -1, Cache: &Cache{StaticSecrets: true},
		Listeners: []Listener{{Address: "127.0.0.1:0", RequireHeader: true}},
	})
	if err != nil {
		f.Fatal(err)
	}
	_ = p.WriteToken(f.Context(), secret.Token{ID: secret.NewText(session)})
	var seen *http.Request
	p.upstream.wire, p.upstream.transport = nil, roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		answer := `{"data":{"id":"` + session + `","accessor":"` + session + `"},"auth":{"client_token":"` + session + `","accessor":"a"}}`
		if !strings.Contains(r.URL.Path, "auth/token/") {
			answer = `{"mount_type":"kv","data":{"k":"v"}}`
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: r, ContentLength: int64(len(answer))}, nil
	})
	g := p.newGate(&p.cfg.Listeners[0], false)
	f.Fuzz(func(t *testing.T, method, path, header string, body []byte) {
		header = strings.ReplaceAll(header, "BEARER", bearer)
		raw := append([]byte(method+" "+path+" HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"), body...)
		r, err := http.ReadRequest(newReader(string(raw)))
		if err != nil {
			return
		}
		shown := r.Header.Clone()
		seen = nil
		w := httptest.NewRecorder()
		func() {
			defer func() {
				v := recover()
				if err, ok := v.(error); v != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
					panic(v)
				}
			}()
			g.ServeHTTP(w, r.WithContext(t.Context()))
		}()
		if bytes.Contains(w.Body.Bytes(), []byte(session)) && !strings.Contains(header+string(body)+path, session) {
			t.Errorf("%s %s tells the session's token: %s", method, path, w.Body)
		}
		if seen == nil {
			return
		}
		if v := shown["X-Vault-Request"]; len(v) != 1 || v[0] != "true" {
			t.Errorf("vault saw %s %s without the header: %q", seen.Method, seen.URL, v)
		}
		for name, values := range seen.Header {
			if strings.Contains(strings.Join(values, ""), bearer) && (name == "Authorization" || name == "X-Vault-Token") && callerToken(seen.Header) == bearer {
				t.Errorf("vault saw the bearer in %s", name)
			}
		}
		if seen.Header.Get("X-Vault-Token") != session || callerToken(shown) == session {
			return
		}
		if to := seen.URL.Path; to != "/v1/allowed" && !strings.HasPrefix(to, "/v1/allowed/") && !strings.Contains(to, "sys/internal/ui/mounts/allowed") && !strings.HasSuffix(to, "-self") {
			t.Errorf("the bearer reached %s", to)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
