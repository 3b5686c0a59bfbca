package envtemplate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// certificate is a self-signed leaf with its key, as PEM.
func certificate(t *testing.T, name string, from, to time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func TestPKICertIsReusedOverRestarts(t *testing.T) {
	const both = `{{ with pkiCert "pki/issue/web" "common_name=web.test" }}{{ .Cert }}{{ .Key }}{{ end }}`
	issue := secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "web.test"}}
	for _, test := range []struct {
		name, tpl, cn string
		age           time.Duration // of a certificate that lives 10 hours
		mixed, fresh  bool          // key of another; a new one must be issued
	}{
		{name: "fresh", tpl: both, cn: "web.test", age: time.Hour},
		{name: "past its renewal", tpl: both, cn: "web.test", age: 9*time.Hour + time.Minute, fresh: true},
		{name: "other name", tpl: both, cn: "other.test", fresh: true},
		{name: "key of another", tpl: both, cn: "web.test", mixed: true, fresh: true},
		{name: "authority is wanted too", tpl: strings.Replace(both, "{{ .Key }}", "{{ .Key }}{{ .CA }}", 1), cn: "web.test", fresh: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "web.pem")
			synctest.Test(t, func(t *testing.T) {
				born := time.Now().Add(-test.age)
				old, oldKey := certificate(t, test.cn, born, born.Add(10*time.Hour))
				if test.mixed {
					_, oldKey = certificate(t, test.cn, born, born.Add(10*time.Hour))
				}
				put(t, dest, old+oldKey)
				ca, _ := certificate(t, "ca", born, born.Add(time.Hour))
				cert, key := certificate(t, "web.test", time.Now(), time.Now().Add(20*time.Hour))
				f := newFake()
				f.set(&secret.Secret{Request: issue, Data: map[string]any{"certificate": cert, "private_key": key, "issuing_ca": ca, "serial_number": "1"}})
				r, _ := start(t, Config{Source: f, Templates: []Template{{Destination: dest, Contents: test.tpl}}})
				g := next(t, r)
				got := g.Files[0].Contents.Reveal()
				if issued := strings.Contains(got, key); issued != test.fresh {
					t.Fatalf("issued anew: %v, want %v", issued, test.fresh)
				}
				if test.fresh {
					if end := time.Now().Add(20 * time.Hour); g.NotAfter.IsZero() || g.NotAfter.After(end) || g.NotAfter.Before(end.Add(-time.Minute)) {
						t.Errorf("its certificate is said to end at %v, want %v", g.NotAfter, end)
					}
					return
				}
				if f.asked(issue) != 0 {
					t.Error("asked Vault although the file had it")
				}
				time.Sleep(8*time.Hour + time.Minute) // its renewal comes at 9 of 10 hours
				g = next(t, r)
				if !strings.Contains(g.Files[0].Contents.Reveal(), key) || len(g.Changed) != 1 {
					t.Error("not replaced at its renewal")
				}
			})
		})
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "0"})
		r, _ := start(t, Config{Source: f, Templates: []Template{{
			Destination: filepath.Join(t.TempDir(), "x"), Contents: `{{ with secret "a" }}{{ .Data.data.k }}{{ end }}`,
			WaitMin: 5 * time.Second, WaitMax: 12 * time.Second,
		}}})
		next(t, r)
		begin := time.Now()
		for i := range 4 { // never quiet for 5 s: the longest wait ends it
			f.kv("a", map[string]any{"k": string(rune('1' + i))})
			time.Sleep(4 * time.Second)
			if time.Since(begin) < 12*time.Second {
				none(t, r)
			}
		}
		if g := next(t, r); g.Files[0].Contents.Reveal() != "4" && g.Files[0].Contents.Reveal() != "3" {
			t.Errorf("%q", g.Files[0].Contents.Reveal())
		}
	})
}
