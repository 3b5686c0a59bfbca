//go:build unix && integration

package auth_test

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/internal/vaulttest"
)

// ldapPlugin asks a real slapd.
func ldapPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
	url := vaulttest.StartDirectory(t)
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
	k := vaulttest.StartKDC(t)
	settings := k.Settings()
	v.Write(t, "sys/auth/kerberos/tune", map[string]any{"passthrough_request_headers": "Authorization", "allowed_response_headers": "www-authenticate"})
	v.Write(t, "auth/kerberos/config", map[string]any{"keytab": base64.StdEncoding.EncodeToString(k.Service), "service_account": "HTTP/vault.test.lan"})
	v.Write(t, "auth/kerberos/config/ldap", map[string]any{"url": vaulttest.StartDirectory(t), "userdn": "dc=test", "userattr": "cn", "groupdn": "dc=test", "binddn": "cn=admin,dc=test", "bindpass": "admin"})
	accepted(t, v, "kerberos", byName(t, "kerberos", settings, nil)) // the second login must not carry the first one's header

	var de *auth.DeniedError
	username := settings["username"]
	settings["username"] = "nobody"
	if err := failsMethod(t, v, "kerberos", byName(t, "kerberos", settings, nil)); !errors.As(err, &de) {
		t.Errorf("an unknown account: %v, want a DeniedError", err)
	}
	settings["username"], settings["keytab_path"] = username, filepath.Join(t.TempDir(), "absent")
	if err := failsMethod(t, v, "kerberos", byName(t, "kerberos", settings, nil)); !errors.As(err, &de) || !strings.Contains(err.Error(), "keytab") {
		t.Errorf("no keytab: %v, want a DeniedError", err)
	}
}

// BenchmarkKerberosLogin is BenchmarkLogin for kerberos, whose ticket a real KDC has to give.
func BenchmarkKerberosLogin(b *testing.B) {
	m, err := all.New("kerberos", vaulttest.StartKDC(b).Settings(), all.Options{})
	if err != nil {
		b.Fatal(err)
	}
	benchLogin(b, func() auth.Method { return m }, false)
}
