package vaulttest

import (
	"fmt"
	"os"
	"path/filepath"
)

// KDC is a running key distribution centre with the user grace and Vault's service.
type KDC struct {
	Address string // host:port, TCP and UDP
	Keytab  string // grace's, a file
	Service []byte // the service's keytab
	Conf    string // a krb5.conf that leads to it, a file
	realm   string
	env     []string
	kadmin  string
}

// StartKDC runs one of realm TEST.LAN until t ends.
func StartKDC(t T) *KDC {
	t.Helper()
	return StartKDCOf(t, "TEST.LAN")
}

// StartKDCOf runs one of another realm.
func StartKDCOf(t T, realm string) *KDC {
	t.Helper()
	krb5kdc, kdb5 := executable(t, PartKerberos, "krb5kdc"), executable(t, PartKerberos, "kdb5_util")
	dir := t.TempDir()
	port, err := freePort()
	if err != nil {
		t.Fatalf("%v", err)
	}
	k := &KDC{
		Address: fmt.Sprintf("127.0.0.1:%d", port), Keytab: filepath.Join(dir, "client.keytab"), Conf: filepath.Join(dir, "krb5.conf"),
		realm: realm, kadmin: executable(t, PartKerberos, "kadmin.local"),
	}
	profile, service := filepath.Join(dir, "kdc.conf"), filepath.Join(dir, "service.keytab")
	place(t, k.Conf, fmt.Sprintf(`[libdefaults]
 default_realm = %[2]s
 dns_lookup_kdc = false
 dns_lookup_realm = false
 udp_preference_limit = 1
[realms]
 %[2]s = {
  kdc = %[1]s
 }
`, k.Address, realm))
	// The plugin's library cannot read the PAC newer KDCs put into tickets.
	place(t, profile, fmt.Sprintf(`[kdcdefaults]
 kdc_ports = %[2]d
 kdc_tcp_ports = %[2]d
[realms]
 %[3]s = {
  disable_pac = true
  database_name = %[1]s/principal
  key_stash_file = %[1]s/stash
  acl_file = %[1]s/acl
  kdc_listen = 127.0.0.1:%[2]d
  kdc_tcp_listen = 127.0.0.1:%[2]d
 }
[logging]
 kdc = FILE:%[1]s/kdc.log
`, dir, port, realm))
	k.env = []string{"KRB5_CONFIG=" + k.Conf, "KRB5_KDC_PROFILE=" + profile}
	complete(t, k.env, kdb5, "create", "-s", "-r", realm, "-P", "master")
	k.Admin(t, "addprinc -randkey grace")
	k.Admin(t, "addprinc -randkey HTTP/vault.test.lan")
	k.Admin(t, "ktadd -k "+service+" HTTP/vault.test.lan")
	k.Rekey(t)
	serve(t, k.env, port, krb5kdc, "-n", "-r", realm)
	if k.Service, err = os.ReadFile(service); err != nil {
		t.Fatalf("%v", err)
	}
	return k
}

// Admin runs one query of kadmin.local.
func (k *KDC) Admin(t T, query string) {
	t.Helper()
	complete(t, k.env, k.kadmin, "-r", k.realm, "-q", query)
}

// Rekey gives grace a new key, in a new keytab: the old one is worth nothing from then on.
func (k *KDC) Rekey(t T) {
	t.Helper()
	k.Admin(t, "ktadd -k "+k.Keytab+".new grace")
	if err := os.Rename(k.Keytab+".new", k.Keytab); err != nil {
		t.Fatalf("%v", err)
	}
}

// Settings are those of the method, for grace.
func (k *KDC) Settings() map[string]any {
	return map[string]any{"username": "grace", "service": "HTTP/vault.test.lan", "realm": k.realm, "keytab_path": k.Keytab, "krb5conf_path": k.Conf}
}
