package kerberos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
)

// password is what the keys of the tests' keytabs are made from.
const password = "correct-horse-battery"

func newKeytab(t testing.TB) []byte {
	t.Helper()
	kt := keytab.New()
	if err := kt.AddEntry("grace", "TEST.LAN", password, time.Unix(1, 0), 1, 18); err != nil {
		t.Fatal(err)
	}
	b, err := kt.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// subject is a method whose krb5.conf names the KDCs.
func subject(t *testing.T, limit int, kdcs ...string) *Method {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		Username: "grace", Service: "HTTP/vault.test.lan", Realm: "TEST.LAN",
		KeytabPath: filepath.Join(dir, "keytab"), Krb5ConfPath: filepath.Join(dir, "krb5.conf"),
	}
	authtest.WriteFile(t, c.KeytabPath, string(newKeytab(t)))
	var lines strings.Builder
	for _, k := range kdcs {
		fmt.Fprintf(&lines, "  kdc = %s\n", k)
	}
	authtest.WriteFile(t, c.Krb5ConfPath, fmt.Sprintf("[libdefaults]\n default_realm = TEST.LAN\n dns_lookup_kdc = false\n udp_preference_limit = %d\n[realms]\n TEST.LAN = {\n%s }\n", limit, &lines))
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fakeKDC takes requests over TCP and UDP. answer returns all that is sent back, framing
// included; nil = nothing, until the client goes.
func fakeKDC(t *testing.T, answer func(network string) []byte) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); _ = u.Close(); work.Wait() })
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := receive(conn); err != nil {
					return
				}
				if b := answer("tcp"); b != nil {
					_, _ = conn.Write(b)
					return
				}
				_, _ = conn.Read(make([]byte, 1)) // until the client goes
			})
		}
	})
	work.Go(func() {
		b := make([]byte, 1<<16)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			if b := answer("udp"); b != nil {
				_, _ = u.WriteTo(b, from)
			}
		}
	})
	return l.Addr().String()
}

// TestCancelSilentKDC: a login that is cancelled while KDCs are silent ends, and leaves
// no goroutine waiting for them.
func TestCancelSilentKDC(t *testing.T) {
	for network, limit := range map[string]int{"tcp": 1, "udp": 1465} {
		t.Run(network, func(t *testing.T) {
			asked := make(chan string, 100)
			kdc := fakeKDC(t, func(network string) []byte { asked <- network; return nil })
			m := subject(t, limit, slices.Repeat([]string{kdc}, 8)...) // 40 s, were they waited for
			leaks := goleak.IgnoreCurrent()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if got := <-asked; got != network {
					t.Errorf("asked over %s first, want %s", got, network)
				}
				cancel()
			}()
			begin := time.Now()
			if _, err := m.Login(ctx, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("login: %v, want context.Canceled", err)
			}
			if d := time.Since(begin); d > 20*time.Second {
				t.Errorf("cancelled after %s", d)
			}
			if err := goleak.Find(leaks); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGarbageKDC: what is no answer of a KDC is an outage, not a refusal, and harms nobody.
func TestGarbageKDC(t *testing.T) {
	frame := func(b string) []byte { var out bytes.Buffer; _ = send(&out, []byte(b)); return out.Bytes() }
	for name, answer := range map[string][]byte{
		"nothing": {}, "half a length": {0, 0}, "no bytes": {0, 0, 0, 0}, "4 GiB": {255, 255, 255, 255, 1}, "web page": []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"cut short": frame("\x6b\x82\x02\x00")[:6], "framed text": frame("hello"),
	} {
		m := subject(t, 1, fakeKDC(t, func(string) []byte { return answer }))
		_, err := m.Login(t.Context(), nil)
		var ce *method.CredentialError
		if err == nil || errors.As(err, &ce) || !strings.Contains(err.Error(), "ask the KDC at") {
			t.Errorf("%s: %v, want an error that heals and names the KDC", name, err)
		}
	}
	for name, answer := range map[string]string{"reply": "\x6b\x03\x30\x01\x00", "error": "\x7e\x03\x30\x01\x00", "deep": "\x6b" + strings.Repeat("\x30\x80", 2000)} {
		m := subject(t, 1465, fakeKDC(t, func(network string) []byte {
			if network == "udp" {
				return []byte(answer)
			}
			return frame(answer)
		}))
		if _, err := m.Login(t.Context(), nil); err == nil {
			t.Errorf("%s: logged in", name)
		}
	}
}

// TestReferral: an answer that refers to another realm leads there by the relay as well.
func TestReferral(t *testing.T) {
	principal := func(parts ...string) types.PrincipalName { return types.PrincipalName{NameType: 2, NameString: parts} }
	rep := messages.TGSRep{KDCRepFields: messages.KDCRepFields{
		PVNO: 5, MsgType: 13, CRealm: "TEST.LAN", CName: principal("grace"),
		Ticket:  messages.Ticket{TktVNO: 5, Realm: "TEST.LAN", SName: principal("krbtgt", "FAR.LAN"), EncPart: types.EncryptedData{EType: 18, Cipher: []byte("x")}},
		EncPart: types.EncryptedData{EType: 18, Cipher: []byte("x")},
	}}
	answer, err := rep.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	conf, err := parseConfig("[realms]\n TEST.LAN = {\n  kdc = home:88\n }\n FAR.LAN = {\n  kdc = far:88\n }\n")
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRelay(t.Context(), conf, "TEST.LAN")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, _, err := conf.GetKDCs("FAR.LAN", true); err == nil {
		t.Error("the library knows a realm nobody named")
	}
	if err := r.follow(answer); err != nil {
		t.Fatal(err)
	}
	if n, kdcs, err := conf.GetKDCs("FAR.LAN", true); err != nil || n != 2 || kdcs[1] != r.listener.Addr().String() {
		t.Errorf("the library asks %v for the other realm (%v), want the relay once for each protocol", kdcs, err)
	}
	if got := r.kdcs["FAR.LAN"]; !slices.Equal(got, []kdc{{"udp", "far:88"}, {"tcp", "far:88"}}) {
		t.Errorf("the relay asks %v", got)
	}
}

func TestNoKDCNamed(t *testing.T) {
	var ce *method.CredentialError
	if _, err := subject(t, 1).Login(t.Context(), nil); !errors.As(err, &ce) || !strings.Contains(err.Error(), "TEST.LAN") {
		t.Errorf("%v, want a CredentialError that names the realm", err)
	}
}
