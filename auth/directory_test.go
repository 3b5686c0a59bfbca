//go:build unix && integration

package auth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/internal/vaulttest"
)

// program finds a server's program; part names it where it is required.
func program(t *testing.T, part, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		vaulttest.Missing(t, part, "no "+name)
	}
	return path
}

func command(t *testing.T, env []string, path string, args ...string) string {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(path), err, out)
	}
	return string(out)
}

// server runs a program until the test ends, and waits for its port.
func server(t *testing.T, env []string, port int, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", filepath.Base(path), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener has one
}

// directory runs slapd with the user grace and returns its URL.
func directory(t *testing.T) string {
	t.Helper()
	slapd, slapadd := program(t, "slapd", "slapd"), program(t, "slapd", "slapadd")
	dir, port := t.TempDir(), freePort(t)
	config, data, ldif := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "data"), filepath.Join(dir, "users.ldif")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	authtest.WriteFile(t, config, fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
database mdb
suffix "dc=test"
rootdn "cn=admin,dc=test"
rootpw admin
directory %[2]s
`, dir, data))
	authtest.WriteFile(t, ldif, `dn: dc=test
objectClass: dcObject
objectClass: organization
dc: test
o: test

dn: cn=grace,dc=test
objectClass: inetOrgPerson
cn: grace
sn: hopper
userPassword: pass word
`)
	command(t, nil, slapadd, "-f", config, "-l", ldif)
	url := fmt.Sprintf("ldap://127.0.0.1:%d", port)
	server(t, nil, port, slapd, "-f", config, "-h", url, "-d", "0")
	return url
}

// ldapPlugin asks a real slapd.
func ldapPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
	url := directory(t)
	v.Write(t, "auth/ldap/config", map[string]any{"url": url, "userdn": "dc=test", "userattr": "cn", "groupdn": "dc=test", "binddn": "cn=admin,dc=test", "bindpass": "admin"})
	v.Write(t, "auth/ldap/users/grace", map[string]any{"policies": "app"})
	file := filepath.Join(t.TempDir(), "password")
	authtest.WriteFile(t, file, "pass word\n")
	settings := map[string]any{"username": "grace", "password_file_path": file, "remove_password_after_reading": false}
	accepted(t, v, "ldap", byName(t, "ldap", settings, nil))
	authtest.WriteFile(t, file, "wrong\n")
	refused(t, v, "ldap", byName(t, "ldap", settings, nil))
}

// kerberosPlugin checks the ticket of a real KDC with the service's keytab, and asks slapd for groups.
func kerberosPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
	krb5kdc, kdb5, kadmin := program(t, "krb5-kdc", "krb5kdc"), program(t, "krb5-kdc", "kdb5_util"), program(t, "krb5-kdc", "kadmin.local")
	url := directory(t)
	v.Write(t, "sys/auth/kerberos/tune", map[string]any{"passthrough_request_headers": "Authorization", "allowed_response_headers": "www-authenticate"})
	dir, port := t.TempDir(), freePort(t)
	conf, profile := filepath.Join(dir, "krb5.conf"), filepath.Join(dir, "kdc.conf")
	authtest.WriteFile(t, conf, fmt.Sprintf(`[libdefaults]
 default_realm = TEST.LAN
 dns_lookup_kdc = false
 dns_lookup_realm = false
 udp_preference_limit = 1
[realms]
 TEST.LAN = {
  kdc = 127.0.0.1:%d
 }
`, port))
	// The plugin's library cannot read the PAC newer KDCs put into tickets.
	authtest.WriteFile(t, profile, fmt.Sprintf(`[kdcdefaults]
 kdc_ports = %[2]d
 kdc_tcp_ports = %[2]d
[realms]
 TEST.LAN = {
  disable_pac = true
  database_name = %[1]s/principal
  key_stash_file = %[1]s/stash
  acl_file = %[1]s/acl
  kdc_listen = 127.0.0.1:%[2]d
  kdc_tcp_listen = 127.0.0.1:%[2]d
 }
[logging]
 kdc = FILE:%[1]s/kdc.log
`, dir, port))
	env := []string{"KRB5_CONFIG=" + conf, "KRB5_KDC_PROFILE=" + profile}
	client, service := filepath.Join(dir, "client.keytab"), filepath.Join(dir, "service.keytab")
	command(t, env, kdb5, "create", "-s", "-r", "TEST.LAN", "-P", "master")
	for _, q := range []string{
		"addprinc -randkey grace", "addprinc -randkey HTTP/vault.test.lan", "ktadd -k " + client + " grace", "ktadd -k " + service + " HTTP/vault.test.lan",
	} {
		command(t, env, kadmin, "-r", "TEST.LAN", "-q", q)
	}
	server(t, env, port, krb5kdc, "-n", "-r", "TEST.LAN")
	keytab, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	v.Write(t, "auth/kerberos/config", map[string]any{"keytab": base64.StdEncoding.EncodeToString(keytab), "service_account": "HTTP/vault.test.lan"})
	v.Write(t, "auth/kerberos/config/ldap", map[string]any{"url": url, "userdn": "dc=test", "userattr": "cn", "groupdn": "dc=test", "binddn": "cn=admin,dc=test", "bindpass": "admin"})
	settings := map[string]any{"username": "grace", "service": "HTTP/vault.test.lan", "realm": "TEST.LAN", "keytab_path": client, "krb5conf_path": conf}
	accepted(t, v, "kerberos", byName(t, "kerberos", settings, nil)) // the second login must not carry the first one's header
	var de *auth.DeniedError
	settings["keytab_path"] = filepath.Join(dir, "absent")
	if err := fails(t, v, "kerberos", settings); !errors.As(err, &de) || !strings.Contains(err.Error(), "keytab") {
		t.Errorf("no keytab: %v, want a DeniedError", err)
	}
}
