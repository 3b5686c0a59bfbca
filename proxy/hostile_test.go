package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHopByHopHeadersDeceiveNobody: a header that Connection declares to be for one
// hop is not judged here and then withheld from Vault.
func TestHopByHopHeadersDeceiveNobody(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "lookup-self") {
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
			return
		}
		fmt.Fprintf(w, `{"mount_type":"kv","data":{"data":{"saw":"%s/%s/%s/%s"},"metadata":{"version":1,"created_time":"t"}}}`,
			r.Header.Get("X-Vault-Token"), r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Mine"), r.Header.Get("X-Vault-Wrap-TTL"))
	})
	r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
	for range 3 {
		a := r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", "mallory", "X-Vault-Namespace", "ns1", "X-Mine", "1",
			"Connection", "X-Vault-Namespace, x-vault-token,X-MINE", "Connection", "close")
		if !strings.Contains(a.body, `"mallory/ns1//"`) {
			t.Errorf("vault saw %s", a.body)
		}
	}
	if a := r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", "t", "X-Vault-Wrap-TTL", "1m", "Connection", "X-Vault-Wrap-TTL"); !strings.Contains(a.body, `"t///1m"`) {
		t.Errorf("vault saw %s", a.body)
	}
}

// TestUnknownHeadersOfVaultPassTheCacheBy: what a future Vault reads in a header must
// reach it each time.
func TestUnknownHeadersOfVaultPassTheCacheBy(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "lookup-self") {
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
			return
		}
		fmt.Fprintf(w, `{"mount_type":"kv","data":{"data":{"snapshot":%q},"metadata":{"version":1,"created_time":"t"}}}`, r.Header.Get("X-Vault-Recover-Snapshot-Id"))
	})
	r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
	for _, id := range []string{"", "", "", "old", "", "old"} {
		header := []string{"X-Vault-Token", "t"}
		if id != "" {
			header = append(header, "X-Vault-Recover-Snapshot-Id", id)
		}
		if a := r.ask(t, "GET", "/v1/secret/data/app", "", header...); !strings.Contains(a.body, fmt.Sprintf(`{"snapshot":%q}`, id)) {
			t.Errorf("snapshot %q was asked for: %s", id, a.body)
		}
	}
}

// TestChildCannotHideBehindANamespace: Vault's community edition ignores the
// namespace header, so a limit that counts it must not be met by it alone.
func TestChildCannotHideBehindANamespace(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI+" "+r.Header.Get("X-Vault-Namespace"))
	})
	child := &Child{Token: NewChildToken(), Paths: []string{"secret/data/app/"}}
	r := start(t, up, func(c *Config) { c.AutoAuth, c.Child = true, child })
	r.login("session", 1)
	for ns, want := range map[string]string{
		"secret/data/app":    "/v1/secret/data/app/secret/data/other?x=1 ",
		"secret/data/app/..": "", "secret/data/app/./": "", "secret/data/app//x": "",
	} {
		a := r.ask(t, "GET", "/v1/secret/data/other?x=1", "", "X-Vault-Token", child.Token.Reveal(), "X-Vault-Namespace", ns)
		if want == "" && a.status != 403 || want != "" && a.body != want {
			t.Errorf("namespace %s: %d %s, want %q", ns, a.status, a.body, want)
		}
	}
}

// TestWhatVaultSendsIsNotLogged: package http quotes an answer that it cannot read.
func TestWhatVaultSendsIsNotLogged(t *testing.T) {
	const secret = "hvs.verysecret"
	var text string
	up := accept(t, func(_ int, conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			io.WriteString(conn, text)
		}
	})
	var logs bytes.Buffer
	r := start(t, up, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
	for _, text = range []string{
		`{"data":"` + secret + "\"}\r\n\r\n", "HTTP/1.1 " + secret + "\r\n\r\n", secret + " 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n" + secret + ": x\x00\r\n\r\n",
	} {
		for _, road := range [][]string{nil, {"Te", "trailers"}} { // ours, package http's
			if a := r.ask(t, "PUT", "/v1/x", "", road...); a.status != 502 {
				t.Errorf("%q: %d", text, a.status)
			}
		}
	}
	r.stop()
	if n := strings.Count(logs.String(), "vault did not answer"); n != 14 || strings.Contains(logs.String(), secret) {
		t.Errorf("%d lines: %s", n, logs.String())
	}
}

// TestABodyThatBreaksOffIsItsClientsFault: it is told as that, and Vault is not blamed.
func TestABodyThatBreaksOffIsItsClientsFault(t *testing.T) {
	up := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	var logs bytes.Buffer
	r := start(t, up, func(c *Config) {
		c.Logger, c.Listeners[0].StallTimeout = slog.New(slog.NewTextHandler(&logs, nil)), time.Second
	})
	for _, size := range []int{100, maxReplay + 100} { // one that is kept, one that is passed on
		for _, after := range []string{"no chunk", ""} { // "" = nothing more comes
			conn := dialed(t, r.url)
			fmt.Fprintf(conn, "PUT /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%s", size, strings.Repeat("x", size), after)
			if after != "" {
				io.WriteString(conn, "\r\n\r\n")
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 400 {
				t.Errorf("%d bytes, then %q: %v %v", size, after, resp, err)
			}
		}
	}
	r.stop()
	if logs.Len() > 0 || r.Stats().Failed > 0 {
		t.Errorf("%d failures of vault: %s", r.Stats().Failed, logs.String())
	}
}
