//go:build unix && integration

package kerberos

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/service"
	"github.com/jcmturner/gokrb5/v8/spnego"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/vaulttest"
)

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

// ticket gets one for grace, with settings edited.
func ticket(t *testing.T, kdc *vaulttest.KDC, edit func(*Config)) error {
	t.Helper()
	c, err := FromMap(kdc.Settings())
	if err != nil {
		t.Fatal(err)
	}
	edit(&c)
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.negotiate(t.Context())
	return err
}

// TestNextKDC: one that is away is no reason to fail, whatever the protocol; and what the
// library does not know in a krb5.conf does no harm.
func TestNextKDC(t *testing.T) {
	kdc := vaulttest.StartKDC(t)
	b, err := os.ReadFile(kdc.Conf)
	if err != nil {
		t.Fatal(err)
	}
	const two = "  kdc = 127.0.0.1:1\n  v4_instance_convert = {\n  }\n  auth_to_local_names = {\n   a = b\n  }\n  kdc ="
	for name, edit := range map[string]*strings.Replacer{
		"tcp": strings.NewReplacer("  kdc =", two),
		"udp": strings.NewReplacer("  kdc =", two, "udp_preference_limit = 1", "udp_preference_limit = 1465"),
	} {
		path := filepath.Join(t.TempDir(), "krb5.conf")
		authtest.WriteFile(t, path, edit.Replace(string(b)))
		if err := ticket(t, kdc, func(c *Config) { c.Krb5ConfPath = path }); err != nil {
			t.Errorf("over %s: %v", name, err)
		}
	}
}

// TestOtherRealm: the service is in a realm that trusts ours.
func TestOtherRealm(t *testing.T) {
	home, other := vaulttest.StartKDC(t), vaulttest.StartKDCOf(t, "OTHER.LAN")
	for _, kdc := range []*vaulttest.KDC{home, other} {
		kdc.Admin(t, "addprinc -pw trust krbtgt/OTHER.LAN@TEST.LAN")
	}
	conf := filepath.Join(t.TempDir(), "krb5.conf")
	authtest.WriteFile(t, conf, "[libdefaults]\n default_realm = TEST.LAN\n udp_preference_limit = 1\n[realms]\n"+
		" TEST.LAN = {\n  kdc = "+home.Address+"\n }\n OTHER.LAN = {\n  kdc = "+other.Address+"\n }\n[domain_realm]\n .test.lan = OTHER.LAN\n")
	if err := ticket(t, home, func(c *Config) { c.Krb5ConfPath = conf }); err != nil {
		t.Error(err)
	}
}

// TestRefusals: what a KDC refuses is not asked for again; one that is away is.
func TestRefusals(t *testing.T) {
	kdc := vaulttest.StartKDC(t)
	login := func(edit func(*Config)) error { return ticket(t, kdc, edit) }
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
