package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventServer is a server with KV secrets and an event stream.
type eventServer struct {
	mu     sync.Mutex
	value  string
	right  string      // of the session on secrets
	events chan string // messages to send; closed: the stream ends
	opened chan string // the token of each stream
}

func (s *eventServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/sys/events/") {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "capabilities-self") {
			fmt.Fprintf(w, `{"capabilities":[%q]}`, s.right)
			return
		}
		if strings.Contains(r.URL.Path, "lookup-self") {
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
			return
		}
		fmt.Fprintf(w, `{"mount_type":"kv","data":{"data":{"value":%q},"metadata":{"version":1,"created_time":"t"}}}`, s.value)
		return
	}
	conn, rw, _ := w.(http.Hijacker).Hijack()
	defer conn.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	rw.Flush()
	s.opened <- r.Header.Get("X-Vault-Token")
	for message := range s.events {
		head := []byte{0x81, 126, byte(len(message) >> 8), byte(len(message))}
		if _, err := conn.Write(append([]byte{0x89, 2, 'h', 'i'}, append(head, message...)...)); err != nil { // a ping first
			return
		}
		pong := make([]byte, 8)
		if _, err := io.ReadFull(rw, pong); err != nil || pong[0] != 0x8A || pong[6]^pong[2] != 'h' {
			return
		}
	}
}

func TestEventsMakeSecretsFreshAtOnce(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { eventsMakeFresh(t, secure) })
	}
}

func eventsMakeFresh(t *testing.T, secure bool) {
	s := &eventServer{value: "one", right: "subscribe", events: make(chan string), opened: make(chan string, 10)}
	up, trust := serveAs(t, secure, s.ServeHTTP)
	r := start(t, up, func(c *Config) {
		trust(c)
		c.AutoAuth, c.Cache = true, &Cache{StaticSecrets: true, MaxAge: time.Nanosecond, MaxAgeEvents: time.Hour}
	})
	r.login("session", 1)
	if token := <-s.opened; token != "session" {
		t.Fatalf("the stream was opened with %q", token)
	}
	read := func() (string, bool) {
		a := r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", "caller")
		return a.body, a.header.Get("X-Cache") == "HIT"
	}
	for hit := false; !hit; { // the client's side is open a moment later
		_, hit = read()
	}
	s.mu.Lock()
	s.value = "two"
	s.mu.Unlock()
	for _, event := range []string{
		`{"data":{"event":{"metadata":{"path":"secret/data/other","modified":"true"}}}}`,
		`{"data":{"event":{"metadata":{"path":"secret/data/app","modified":"false"}}}}`,
		`{"data":{"namespace":"ns1/","event":{"metadata":{"path":"secret/data/app","modified":"true"}}}}`,
	} {
		s.events <- event
	}
	if body, hit := read(); !hit || !strings.Contains(body, "one") {
		t.Errorf("events about other things: hit %v, %s", hit, body)
	}
	s.events <- `{"data":{"event":{"metadata":{"path":"data/app","modified":"true"}},"plugin_info":{"mount_path":"secret/"}}}`
	for began := time.Now(); ; {
		if body, _ := read(); strings.Contains(body, "two") {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the event changed nothing")
		}
	}
	inNamespace := func() (string, bool) {
		a := r.ask(t, "GET", "/v1/secret/data/app", "", "X-Vault-Token", "caller", "X-Vault-Namespace", "ns1/")
		return a.body, a.header.Get("X-Cache") == "HIT"
	}
	for hit := false; !hit; {
		_, hit = inNamespace()
	}
	s.mu.Lock()
	s.value = "three"
	s.mu.Unlock()
	s.events <- `{"data":{"namespace":"ns1/","event":{"metadata":{"path":"secret/data/app","modified":"true"}}}}`
	for began := time.Now(); ; {
		if body, _ := inNamespace(); strings.Contains(body, "three") {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the event of the namespace changed nothing")
		}
	}
	close(s.events)
	for hit := true; hit; { // without the stream MaxAge counts again
		_, hit = read()
	}
}
