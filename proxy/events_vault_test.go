//go:build integration

package proxy

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// TestIntegrationEventsOfARealServer: with polling out of the way (a hard maximum age
// of a nanosecond without events), what a hit shows is what the events made of it.
func TestIntegrationEventsOfARealServer(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.WithEvents(t))
	v.Policy(t, "reader", `path "secret/*" { capabilities = ["read"] }`)
	v.Policy(t, "follower", `path "sys/events/subscribe/*" { capabilities = ["read"] }
path "secret/*" { capabilities = ["list", "subscribe"] subscribe_event_types = ["kv*"] }`)
	caller := v.Token(t, nil, "reader")
	first := v.Token(t, nil, "root") // this server tells nobody else of deletions
	var mu sync.Mutex
	var lost []string
	r := start(t, v.Addr, func(c *Config) {
		c.AutoAuth, c.Cache = true, &Cache{StaticSecrets: true, MaxAge: time.Nanosecond, MaxAgeEvents: time.Hour}
		c.OnInvalidToken = func(t secret.Token) {
			mu.Lock()
			defer mu.Unlock()
			lost = append(lost, t.ID.Reveal())
		}
	})
	r.login(first, 1)
	read := func(path string) (answer, bool) {
		a := r.ask(t, "GET", "/v1/"+path, "", "X-Vault-Token", caller)
		return a, a.header.Get("X-Cache") == "HIT"
	}
	// until changes something and waits for the answer that shows it. The server
	// loses an event now and then, so the change is made again.
	until := func(what string, change func(), ok func(answer, bool) bool) {
		t.Helper()
		for range 30 {
			if change != nil {
				change()
			}
			for began := time.Now(); time.Since(began) < 2*time.Second; {
				if a, hit := read("secret/data/app"); ok(a, hit) {
					return
				}
			}
		}
		a, hit := read("secret/data/app")
		t.Fatalf("%s: still %d hit=%t %s", what, a.status, hit, a.body)
	}
	isHit := func(_ answer, hit bool) bool { return hit }
	put := func(value string) func() {
		return func() { v.PutKV2(t, "secret/app", map[string]any{"value": value}) }
	}
	shows := func(value string) func(answer, bool) bool {
		return func(a answer, _ bool) bool { return strings.Contains(a.body, value) }
	}

	put("one")()
	until("the stream opens", nil, isHit)
	// An hour could pass: nothing but an event ends these hits.
	until("a write", put("two"), shows("two"))
	until("after a write", nil, isHit)
	for _, change := range []struct {
		path   string
		status int
	}{{"secret/delete/app", 404}, {"secret/undelete/app", 200}, {"secret/destroy/app", 404}} {
		versions := make([]int, 40)
		for i := range versions {
			versions[i] = i + 1
		}
		until(change.path, func() { v.Write(t, change.path, map[string]any{"versions": versions}) },
			func(a answer, _ bool) bool { return a.status == change.status })
	}
	put("three")()
	until("a new version", nil, isHit)
	until("metadata gone", func() { v.Delete(t, "secret/metadata/app") }, func(a answer, _ bool) bool { return a.status == 404 })

	// The token ends: the stream follows the session's new one, of fewer rights.
	put("four")()
	until("before the new login", nil, isHit)
	second := v.Token(t, nil, "follower")
	v.Write(t, "auth/token/revoke", map[string]any{"token": first})
	r.login(second, 2)
	until("a write after the new login", put("five"), shows("five"))
	until("the new login's stream", nil, isHit)
	until("a write told to the new login", put("six"), shows("six"))
}

// TestIntegrationEventsPassThrough: a client subscribes through us.
func TestIntegrationEventsPassThrough(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.WithEvents(t))
	r := start(t, v.Addr, func(c *Config) { c.AutoAuth, c.Lend = true, LendMissing })
	r.login(v.RootToken, 1)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	fmt.Fprintf(conn, "GET /v1/sys/events/subscribe/kv*?json=true HTTP/1.1\r\nHost: vault\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", base64.StdEncoding.EncodeToString(key))
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("subscription: %v %v", resp, err)
	}
	var head []byte
	for range 30 { // the server loses an event now and then
		v.PutKV2(t, "secret/app", map[string]any{"value": "one"})
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		if head, err = in.Peek(2); err == nil {
			break
		}
	}
	if err != nil || head[0] != 0x81 && head[0] != 0x01 {
		t.Fatalf("no message came: %x %v", head, err)
	}
	text := make([]byte, 200)
	if _, err := in.Read(text); err != nil || !strings.Contains(string(text), `"id"`) {
		t.Errorf("the message is %q %v", text, err)
	}
}

// TestIntegrationNoRightToEvents: a session that may not open the stream, or opens it
// and is told nothing of a secret, leaves reading anew in place.
func TestIntegrationNoRightToEvents(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.WithEvents(t))
	v.Policy(t, "deaf", `path "sys/events/subscribe/*" { capabilities = ["read"] }`)
	t.Run("refused", func(t *testing.T) { noEventsFor(t, v, false, "default") })
	t.Run("deaf", func(t *testing.T) { noEventsFor(t, v, true, "default", "deaf") })
}

func noEventsFor(t *testing.T, v *vaulttest.Server, stream bool, policies ...string) {
	v.PutKV2(t, "secret/app", map[string]any{"value": "one"})
	r := start(t, v.Addr, func(c *Config) {
		c.AutoAuth, c.Cache = true, &Cache{StaticSecrets: true, MaxAge: 50 * time.Millisecond, MaxAgeEvents: time.Hour}
		c.OnInvalidToken = func(secret.Token) { t.Error("a missing right is taken for a dead token") }
	})
	r.login(v.Token(t, nil, policies...), 1)
	read := func() answer { return r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", v.RootToken) }
	for began := time.Now(); stream && !r.Stats().Cache.Events; {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the stream does not open")
		}
	}
	for range 3 {
		read()
	}
	v.PutKV2(t, "secret/app", map[string]any{"value": "two"})
	for began := time.Now(); !strings.Contains(read().body, "two"); {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the old value is still served")
		}
	}
}
