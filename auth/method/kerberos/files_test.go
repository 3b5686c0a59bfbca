package kerberos

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// hidden fails when err shows a key of b.
func hidden(t *testing.T, err error, b []byte) {
	t.Helper()
	if err == nil || len(b) < 32 {
		return
	}
	text := err.Error()
	for i := range len(b) - 8 {
		part := b[i : i+8]
		for _, form := range []string{string(part), fmt.Sprintf("%x", part), strings.Trim(fmt.Sprintf("%d", part), "[]"), base64.StdEncoding.EncodeToString(part)} {
			if strings.Contains(text, form) {
				t.Fatalf("the error shows the file: %q", text)
			}
		}
	}
}

// TestKeytabCutShort: an error and nothing of the file in it, wherever it was cut.
func TestKeytabCutShort(t *testing.T) {
	whole := newKeytab(t)
	for n := range len(whole) {
		_, err := parseKeytab(whole[:n])
		hidden(t, err, whole)
		if err == nil && n < len(whole)-4 { // the last number of an entry may be absent
			t.Errorf("%d of %d bytes pass for a keytab", n, len(whole))
		}
	}
	if kt, err := parseKeytab(whole); err != nil || len(kt.Entries) != 1 {
		t.Errorf("the whole keytab: %v", err)
	}
}

func FuzzKeytab(f *testing.F) {
	whole := newKeytab(f)
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte{5, 1, 0, 0, 0, 40})
	f.Add([]byte{5, 2, 0x80, 0, 0, 0})
	f.Add(append([]byte{5, 2, 0, 0, 0, 4, 0x7f, 0xff, 0x7f, 0xff}, bytes.Repeat([]byte{0xff}, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		kt, err := parseKeytab(b)
		hidden(t, err, b)
		if err == nil && len(kt.Entries) == 0 {
			t.Error("no error and no key")
		}
	})
}

func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "[libdefaults]\n default_realm = TEST.LAN\n", "[realms]\n A = {\n  kdc = a:88\n }\n", "[realms]\n A = {\n  x = {\n   a = b\n  }\n }\n",
		"[realms]\n }\n", "[realms]\n {\n", "[libdefaults]\n clockskew =\n", "[libdefaults]\n kdc_default_options = 0x\n", "[domain_realm]\n = \n",
		"[realms]\n A = {\n  v4_instance_convert = {\n  }\n }\n", "[libdefaults]\n default_realm\n", "include /etc/x\nincludedir /etc/krb5.conf.d/\n[libdefaults]\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		conf, err := parseConfig(text)
		if (conf == nil) == (err == nil) {
			t.Errorf("%v and error %v", conf, err)
		}
	})
}

// TestNestedBlocks: what MIT's tools take and the library does not is left out.
func TestNestedBlocks(t *testing.T) {
	conf, err := parseConfig(`includedir /etc/krb5.conf.d/
[libdefaults]
 default_realm = A
[realms]
 A = {
  kdc = one:88   # { of a comment
  auth_to_local_names = {
   a = b
   c = { d = e }
  }
  v4_instance_convert = {
  }
  kdc = two
 }
 B = {
  kdc = three
 }
`)
	if err != nil {
		t.Fatal(err)
	}
	for realm, want := range map[string]int{"A": 2, "B": 1} {
		if n, _, err := conf.GetKDCs(realm, true); err != nil || n != want {
			t.Errorf("realm %s: %d KDCs (%v), want %d", realm, n, err, want)
		}
	}
}
