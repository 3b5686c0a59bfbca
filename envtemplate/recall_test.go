package envtemplate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// authority issues certificates as Vault's PKI does.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	text string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(1e6 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key, text: encode("CERTIFICATE", der)}
}

func encode(kind string, der []byte) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// issue is the data of an answer.
func (a *authority) issue(name string, from, to time.Time) map[string]any {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: from, NotAfter: to,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return map[string]any{
		"certificate": encode("CERTIFICATE", der), "private_key": encode("PRIVATE KEY", raw), "private_key_type": "ec",
		"issuing_ca": a.text, "ca_chain": []any{a.text}, "serial_number": "1",
	}
}

const (
	webWith  = `{{ with pkiCert "pki/issue/web" "common_name=web.test" "ip_sans=127.0.0.1" }}`
	webRead  = `{{ with secret "pki/issue/web" "common_name=web.test" "ip_sans=127.0.0.1" }}`
	webNamed = `{{ with pkiCert "pki/issue/web" (printf "common_name=%s" (env "NAME")) "ip_sans=127.0.0.1" }}`
)

// layouts are ways to spread one issue over files.
var layouts = map[string]func(dir string) []Template{
	"one file": func(dir string) []Template {
		return []Template{{Destination: dir + "/cert", Contents: webWith + `{{ .Cert }}{{ .Key }}{{ .CA }}{{ end }}`}}
	},
	"three blocks": func(dir string) []Template {
		return []Template{
			{Destination: dir + "/cert", Contents: webWith + `{{ .Cert }}{{ end }}`},
			{Destination: dir + "/key", Contents: webWith + `{{ .Key }}{{ end }}`},
			{Destination: dir + "/chain", Contents: webWith + `{{ range .CAChain }}{{ . }}{{ end }}{{ end }}`},
		}
	},
	"writeToFile": func(dir string) []Template {
		return []Template{{
			Destination: dir + "/marker", SandboxPath: dir,
			Contents: webWith + `{{ .Cert | writeToFile "` + dir + `/cert" "" "" "0600" }}{{ .CA | writeToFile "` + dir + `/cert" "" "" "0600" "append" }}` +
				`{{ .Key | writeToFile "` + dir + `/key" "" "" "0600" }}{{ end }}`,
		}}
	},
	"secret in three blocks": func(dir string) []Template {
		return []Template{
			{Destination: dir + "/cert", Contents: webRead + `{{ .Data.certificate }}{{ end }}`},
			{Destination: dir + "/key", Contents: webRead + `{{ .Data.private_key }}{{ end }}`},
			{Destination: dir + "/chain", Contents: webRead + `{{ range .Data.ca_chain }}{{ . }}{{ end }}{{ end }}`},
		}
	},
	"computed arguments": func(dir string) []Template {
		return []Template{
			{Destination: dir + "/cert", Contents: webNamed + `{{ .Cert }}{{ end }} at {{ timestamp }}`},
			{Destination: dir + "/key", Contents: webNamed + `{{ .Key }}{{ end }}`},
		}
	},
}

// lifeOn renders and writes once and tells how often Vault was asked for a certificate.
func lifeOn(t *testing.T, templates []Template, answer map[string]any) (asked int) {
	t.Helper()
	f := newFake()
	for _, name := range []string{"web.test", "peer.test"} {
		f.set(&secret.Secret{
			Request: secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": name, "ip_sans": "127.0.0.1"}},
			Data:    answer,
		})
	}
	r, stop := start(t, Config{Source: f, Templates: templates, Env: environ.From([]string{"NAME=web.test"})})
	g := next(t, r)
	if err := g.WriteFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return f.asked()
}

// wantIssue fails the test unless all files have parts of this issue alone.
func wantIssue(t *testing.T, dir string, issue map[string]any) {
	t.Helper()
	parts := map[string]bool{}
	for _, name := range []string{"certificate", "private_key", "issuing_ca"} {
		parts[issue[name].(string)+"\n"] = true
	}
	found := 0
	for name, text := range tree(t, dir) {
		blocks, err := pemBlocks([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			if found++; !parts[b.text] {
				t.Errorf("%s has a part of another issue", name)
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d parts", found)
	}
}

// TestIssueIsReusedWhole: a restart issues nothing anew while what the files have is
// whole and good, and else replaces all of it.
func TestIssueIsReusedWhole(t *testing.T) {
	for layout, templates := range layouts {
		for state, damage := range map[string]func(dir string, other map[string]any) bool{
			"untouched": func(string, map[string]any) bool { return false },
			"certificate of another": func(dir string, other map[string]any) bool {
				putPEM(t, dir+"/cert", other["certificate"])
				return true
			},
			"key of another": func(dir string, other map[string]any) bool {
				putPEM(t, dir+"/key", other["private_key"])
				return layout != "one file"
			},
			"no certificate": func(dir string, _ map[string]any) bool {
				return os.Remove(dir+"/cert") == nil
			},
			"no key": func(dir string, _ map[string]any) bool {
				return os.Remove(dir+"/key") == nil
			},
			"chain of another": func(dir string, _ map[string]any) bool {
				if _, err := os.Stat(dir + "/chain"); err != nil {
					return false
				}
				putPEM(t, dir+"/chain", newAuthority(t).text)
				return true
			},
		} {
			t.Run(layout+", "+state, func(t *testing.T) {
				dir := filepath.ToSlash(t.TempDir())
				synctest.Test(t, func(t *testing.T) {
					ca := newAuthority(t)
					first := ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
					second := ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
					if n := lifeOn(t, templates(dir), first); n != 1 {
						t.Fatalf("%d certificates asked for", n)
					}
					wantIssue(t, dir, first)
					anew := damage(dir, second)
					time.Sleep(time.Hour)
					asked := lifeOn(t, templates(dir), second)
					switch {
					case anew && asked != 1, !anew && asked != 0:
						t.Errorf("%d certificates asked for", asked)
					case anew:
						wantIssue(t, dir, second)
					default:
						if state == "untouched" {
							wantIssue(t, dir, first)
						}
					}
				})
			})
		}
	}
}

func putPEM(t *testing.T, path string, text any) {
	t.Helper()
	put(t, path, text.(string)+"\n")
}

// TestIssuesAreToldApart: two certificates for one name, each in files of its own.
func TestIssuesAreToldApart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		f := newFake()
		var templates []Template
		issues := map[string]map[string]any{}
		for _, role := range []string{"server", "peer"} {
			issues[role] = ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
			f.set(&secret.Secret{
				Request: secret.Request{Op: secret.Write, Path: "pki/issue/" + role, Body: map[string]any{"common_name": "web.test"}}, Data: issues[role],
			})
			for part, field := range map[string]string{"cert": ".Cert", "key": ".Key", "chain": ".CA"} {
				templates = append(templates, Template{
					Destination: filepath.Join(dir, role, part),
					Contents:    `{{ with pkiCert "pki/issue/` + role + `" "common_name=web.test" }}{{ ` + field + ` }}{{ end }}`,
				})
			}
		}
		for life := range 2 {
			r, stop := start(t, Config{Source: f, Templates: templates})
			if err := next(t, r).WriteFiles(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = stop()
			for role, issue := range issues {
				wantIssue(t, filepath.Join(dir, role), issue)
			}
			if n := f.asked(); n != 2 {
				t.Errorf("life %d: %d secrets read", life+1, n)
			}
		}
	})
}

// TestRecalledIssueEnds: it is replaced in its time, all files at once, and a Vault that
// refuses then costs nothing but a message.
func TestRecalledIssueEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		first := ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
		templates := layouts["three blocks"](dir)
		lifeOn(t, templates, first)
		req := secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "web.test", "ip_sans": "127.0.0.1"}}
		f := newFake()
		f.refuse(req, secret.ErrForbidden)
		r, _ := start(t, Config{Source: f, Templates: templates, CertMinRemaining: 2 * time.Hour})
		if g := next(t, r); !g.NotAfter.Equal(time.Now().Add(10 * time.Hour).Truncate(time.Second)) {
			t.Errorf("the certificate in use is said to end at %v", g.NotAfter)
		}
		time.Sleep(8*time.Hour - time.Minute)
		none(t, r)
		if f.asked() != 0 {
			t.Error("asked before its time")
		}
		time.Sleep(2 * time.Minute)
		none(t, r)
		if f.asked() != 1 {
			t.Error("not asked in its time")
		}
		second := ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
		f.set(&secret.Secret{Request: req, Data: second})
		g := next(t, r)
		if len(g.Changed) != 2 { // the chain is the same
			t.Errorf("changed %v", g.Changed)
		}
		if err := g.WriteFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantIssue(t, dir, second)
	})
}

// TestRecalledIssueThatWillNotDo: a template that looks at what no file has gets an
// issue of its own, and the others the same; a refusal then is a problem of the start.
func TestRecalledIssueThatWillNotDo(t *testing.T) {
	for name, more := range map[string]func(dir string, c *Config){
		"variable": func(_ string, c *Config) {
			c.EnvTemplates = []EnvTemplate{{Name: "KEY", Contents: webWith + `{{ .Key }}{{ end }}`}}
		},
		"type of the key": func(dir string, c *Config) {
			c.Templates = append(c.Templates, Template{Destination: dir + "/type", Contents: webRead + `{{ .Data.private_key_type }}{{ end }}`})
		},
		"all of it": func(dir string, c *Config) {
			c.Templates = append(c.Templates, Template{Destination: dir + "/all", Contents: webRead + `{{ .Data | toJSON }}{{ end }}`})
		},
		"another part": func(dir string, c *Config) {
			c.Templates = append(c.Templates, Template{Destination: dir + "/other", Contents: webRead + `{{ .Data.serial_number }}{{ .Data.new_in_vault }}{{ end }}`})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.ToSlash(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ca := newAuthority(t)
				cfg := Config{Templates: layouts["three blocks"](dir)}
				lifeOn(t, cfg.Templates, ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour)))
				more(dir, &cfg)
				req := secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "web.test", "ip_sans": "127.0.0.1"}}
				f := newFake()
				f.refuse(req, secret.ErrForbidden)
				cfg.Source = f
				_, stop := start(t, cfg)
				synctest.Wait()
				if err := stop(); err == nil || !strings.Contains(err.Error(), "permission denied") {
					t.Errorf("error %v", err)
				}
				second := ca.issue("web.test", time.Now(), time.Now().Add(10*time.Hour))
				second["new_in_vault"] = "x"
				f.set(&secret.Secret{Request: req, Data: second})
				r, _ := start(t, cfg)
				if err := next(t, r).WriteFiles(t.Context()); err != nil {
					t.Fatal(err)
				}
				_ = os.Remove(dir + "/all")
				wantIssue(t, dir, second)
			})
		})
	}
}
