package all

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryDocumentedKey gives each method all keys Vault Agent documents for it.
func TestEveryDocumentedKey(t *testing.T) {
	tests := map[string]map[string]any{
		"alicloud": {
			"role": "r", "region": "eu-central-1", "credential_poll_interval": 60, "access_key": "a", "access_secret": "b", "access_token": "c", "role_arn": "d",
			"role_session_name": "e", "role_session_expiration": 900, "private_key": "f", "public_key_id": "g", "session_expiration": 900, "role_name": "h",
		},
		"approle": {
			"role_id_file_path": "a", "secret_id_file_path": "b", "remove_secret_id_file_after_reading": "false", "secret_id_response_wrapping_path": "auth/approle/role/r/secret-id",
		},
		"aws": {
			"type": "iam", "role": "r", "access_key": "a", "secret_key": "b", "session_token": "c", "header_value": "d", "nonce": "e", "region": "", "credential_poll_interval": 60,
		},
		"azure": {"role": "r", "resource": "a", "object_id": "b", "scope": "c", "authenticate_from_environment": "true"},
		"cert":  {"name": "r", "ca_cert": "a", "client_cert": "b", "client_key": "c", "reload": true, "reload_period": "1m"},
		"cf":    {"role": "r"},
		"gcp":   {"type": "iam", "role": "r", "credentials": "{}", "service_account": "a", "project": "b", "jwt_exp": 15},
		"jwt": {
			"path": "a", "role": "r", "remove_jwt_after_reading": false, "remove_jwt_follows_symlinks": true, "jwt_read_period": "1m",
		},
		"kerberos": {
			"username": "a", "service": "b", "realm": "c", "keytab_path": "d", "krb5conf_path": "e", "disable_fast_negotiation": "true",
		},
		"kubernetes": {"role": "r", "token_path": "a"},
		"ldap": {
			"username": "u", "password_file_path": "a", "remove_password_after_reading": false, "remove_password_follows_symlinks": true, "password_read_period": "1m",
		},
		"oci":            {"type": "instance", "role": "r", "credential_poll_interval": "60s"},
		"token_file":     {"token_file_path": "a"},
		"token":          {"token": secret.NewText("a")},
		"userpass":       {"username": "u", "password": secret.NewText("a")},
		"github_actions": {"role": "r", "audience": "a"},
		"gitlab":         {"role": "r"},
	}
	env := func(name string) string { return "https://" + name }
	for _, name := range Names() {
		settings, ok := tests[name]
		if !ok {
			t.Errorf("%s has no test", name)
			continue
		}
		m, err := New(name, settings, Options{Env: env})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, ok := m.(method.Credentials); !ok {
			t.Errorf("%s does not tell when its credentials change", name)
		}
		settings["mistyped_key"] = 1
		if m, err := New(name, settings, Options{Env: env}); err == nil || m != nil || !strings.Contains(err.Error(), "mistyped_key: unknown key") {
			t.Errorf("%s with an unknown key: %v, %v", name, m, err)
		}
	}
}

// TestRequiredKeys: no method is content with nothing, but cert.
func TestRequiredKeys(t *testing.T) {
	for _, name := range Names() {
		if _, err := New(name, nil, Options{}); (err == nil) != (name == "cert") {
			t.Errorf("%s without settings: %v", name, err)
		}
	}
	if _, err := New("kubernets", nil, Options{}); err == nil || !strings.Contains(err.Error(), "kubernetes") {
		t.Errorf("an unknown method: %v", err)
	}
}
