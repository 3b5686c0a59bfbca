//go:build unix && integration

package kerberos

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/service"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/vaulttest"
)

func TestMain(m *testing.M) {
	service.GetReplayCache(time.Hour) // its goroutine, which opens needs, never ends
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// TestConformance has a real KDC give the tickets; the service's keytab opens them.
func TestConformance(t *testing.T) {
	kdc := vaulttest.StartKDC(t)
	kt := keytab.New()
	if err := kt.Unmarshal(kdc.Service); err != nil {
		t.Fatal(err)
	}
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		c, err := FromMap(kdc.Settings())
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("grace")
		return authtest.Subject{
			Method: m,
			Check: func(r authtest.Request) error {
				values := r.Header.Values("Authorization")
				if r.Path != "auth/kerberos/login" || len(values) != 1 {
					return errors.New("wrong request")
				}
				return opens(values[0], kt, want.Get())
			},
			Rotate: func() { kdc.Rekey(t) },
			Spoil:  func() { want.Set("another") },
		}
	})
}

// opens checks the ticket as a service does.
func opens(header string, kt *keytab.Keytab, name string) error {
	text, ok := strings.CutPrefix(header, "Negotiate ")
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return errors.New("wrong header")
	}
	var token spnego.SPNEGOToken
	if err := token.Unmarshal(b); err != nil {
		return err
	}
	s := spnego.SPNEGOService(kt, service.DecodePAC(false))
	good, ctx, status := s.AcceptSecContext(&token)
	if !good {
		return status
	}
	id, _ := ctx.Value("github.com/jcmturner/gokrb5/v8/ctxCredentials").(interface{ UserName() string })
	if id == nil || id.UserName() != name {
		return errors.New("the ticket is not of " + name)
	}
	return nil
}

// TestRefusals: what a KDC refuses is not asked for again; one that is away is.
func TestRefusals(t *testing.T) {
	kdc := vaulttest.StartKDC(t)
	login := func(edit func(*Config)) error {
		c, err := FromMap(kdc.Settings())
		if err != nil {
			t.Fatal(err)
		}
		edit(&c)
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.negotiate()
		return err
	}
	var ce *method.CredentialError
	for name, edit := range map[string]func(*Config){
		"unknown account": func(c *Config) { c.Username = "nobody" },
		"unknown service": func(c *Config) { c.Service = "HTTP/none.test.lan" },
	} {
		if err := login(edit); !errors.As(err, &ce) {
			t.Errorf("%s: %v, want a CredentialError", name, err)
		}
	}
	kdc.Admin(t, "cpw -randkey grace")
	if err := login(func(*Config) {}); !errors.As(err, &ce) {
		t.Errorf("a keytab of yesterday: %v, want a CredentialError", err)
	}
	away := t.TempDir() + "/krb5.conf"
	authtest.WriteFile(t, away, "[libdefaults]\n udp_preference_limit = 1\n dns_lookup_kdc = false\n[realms]\n TEST.LAN = {\n  kdc = 127.0.0.1:1\n }\n")
	if err := login(func(c *Config) { c.Krb5ConfPath = away }); err == nil || errors.As(err, &ce) {
		t.Errorf("a KDC that is away: %v, want an error that heals", err)
	}
}
