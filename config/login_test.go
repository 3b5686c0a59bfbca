package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

const autoAuth = "auto_auth {\n  method \"jwt\" {\n    config = { path = \"p\" role = \"file\" }\n  }\n}\n"

const appRoleFile = "auto_auth {\n  method \"approle\" { config { } }\n}\n"

// The first login that applies is taken, in the order of the manual.
func TestLoginOrder(t *testing.T) {
	all := []string{"VAULT_TOKEN=t", "VAULT_ROLE_ID=r", "VAULT_SECRET_ID=s", "VAULT_AUTH_METHOD=kubernetes", "VAULT_ROLE=app", "HOME=home"}
	for _, tc := range []struct {
		name, file string
		env, args  []string
		want       string // method mount source
		settings   string
	}{
		{"file", autoAuth, all, nil, "jwt auth/jwt auto_auth in a.hcl:1:1", "path=p role=file"},
		{"file with role flag", autoAuth, all, []string{"--role", "flag"}, "jwt auth/jwt auto_auth in a.hcl:1:1", "path=p role=flag"},
		{"flag", "", all, []string{"--auth", "ldap", "--auth-config", "username=u", "--auth-config=password_file_path=f", "--auth-path", "corp"},
			"ldap auth/corp --auth", "password_file_path=f role=app username=u"},
		{"own variable", "", append(all, "ENVEXEC_AUTH=kubernetes"), nil, "kubernetes auth/kubernetes ENVEXEC_AUTH", "role=app"},
		{"token file flag", "", all, []string{"--token-file", "f"}, "token  --token-file", ""},
		{"token", "", all, nil, "token  VAULT_TOKEN", ""},
		{"token twin", "", append(all[1:], "VAULT_TOKEN_FILE=/t"), nil, "token  VAULT_TOKEN", ""},
		{"approle", "", all[1:], nil, "approle auth/approle VAULT_ROLE_ID", "role_id=[secret] secret_id=[secret]"},
		{"approle, other names", "", []string{"APPROLE_ROLE_ID=r", "VAULT_SECRET_ID_FILE=/s"}, nil, "approle auth/approle APPROLE_ROLE_ID",
			"remove_secret_id_file_after_reading=false role_id=[secret] secret_id_file_path=/s"},
		{"approle, wrapped", "", []string{"APPROLE_ROLE_ID=r", "VAULT_SECRET_ID_FILE=/s"}, []string{"--auth-config", "secret_id_response_wrapping_path=auth/approle/role/a/secret-id"},
			"approle auth/approle APPROLE_ROLE_ID",
			"remove_secret_id_file_after_reading=false role_id=[secret] secret_id_file_path=/s secret_id_response_wrapping_path=auth/approle/role/a/secret-id"},
		{"approle by flag", "", []string{"VAULT_ROLE_ID_FILE=/r", "VAULT_TOKEN=t"}, []string{"--auth", "approle"}, "approle auth/approle --auth", "role_id_file_path=/r"},
		{"method variable", "", all[3:], nil, "kubernetes auth/kubernetes VAULT_AUTH_METHOD", "role=app"},
		{"jwt of CI", "", []string{"VAULT_AUTH_METHOD=jwt", "VAULT_ROLE=ci", "VAULT_ID_TOKEN=x"}, nil, "jwt auth/jwt VAULT_AUTH_METHOD", "jwt=[secret] role=ci"},
		{"userpass", "", []string{"VAULT_AUTH_METHOD=userpass", "VAULT_USERNAME=u", "VAULT_PASSWORD=p"}, nil, "userpass auth/userpass VAULT_AUTH_METHOD", "password=[secret] username=u"},
		{"token helper", "", all[5:], nil, "token  ~/.vault-token", ""},
		{"token helper without a token", "", []string{"HOME=elsewhere"}, nil, "  ", ""},
		{"nothing", "", nil, nil, "  ", ""},
		{"file completed by variables", appRoleFile, []string{"APPROLE_ROLE_ID=r", "VAULT_SECRET_ID_FILE=/s"}, nil, "approle auth/approle auto_auth in a.hcl:1:1",
			"remove_secret_id_file_after_reading=false role_id=[secret] secret_id_file_path=/s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append(tc.args, "--", "app")
			if tc.file != "" {
				args = append([]string{"--config", "a.hcl"}, args...)
			}
			l := mustParse(t, map[string]string{"a.hcl": tc.file, "home/.vault-token": "t"}, tc.env, args...).Login
			if got := strings.Join([]string{l.Method, l.MountPath, l.Source}, " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			var settings []string
			for k, v := range l.Settings {
				settings = append(settings, fmt.Sprintf("%s=%v", k, v))
			}
			if got := sorted(settings); got != tc.settings {
				t.Errorf("settings %q, want %q", got, tc.settings)
			}
		})
	}
}

func sorted(list []string) string {
	return strings.Join(environ.From(list).List(), " ")
}

func TestLoginValues(t *testing.T) {
	l := mustParse(t, nil, []string{"VAULT_TOKEN=t"}, "--no-revoke", "--", "app").Login
	if !l.Token.Equal(secret.NewText("t")) || l.Revoke {
		t.Errorf("%+v", l)
	}
	l = mustParse(t, nil, []string{"VAULT_TOKEN_FILE=/t"}, "--auth-namespace", "team", "--", "app").Login
	if l.TokenFile != "/t" || !l.Token.Empty() || !l.Revoke || l.Namespace != "team/" {
		t.Errorf("%+v", l)
	}
}

// TestNamespaceForms: with slashes or without, a namespace is one and the same, wherever it is said.
func TestNamespaceForms(t *testing.T) {
	for text, want := range map[string]string{"team": "team/", "team/": "team/", "/team": "team/", "/team/a/": "team/a/", "": "", "/": "", "root": "", "root/": ""} {
		file := fmt.Sprintf("auto_auth {\n method \"approle\" {\n namespace = %q\n config = { role_id_file_path = \"r\" }\n }\n sink \"file\" { config = { path = \"t\" } }\n}\nvault { namespace = %q }\n", text, text)
		c := mustParse(t, map[string]string{"a.hcl": file}, nil, "--config", "a.hcl", "--", "app")
		if c.Login.Namespace != want || c.Vault.Namespace != want {
			t.Errorf("%q in a file: login %q, vault %q, want %q", text, c.Login.Namespace, c.Vault.Namespace, want)
		}
		if l := mustParse(t, nil, []string{"VAULT_TOKEN=t"}, "--auth-namespace", text, "--", "app").Login; l.Namespace != want {
			t.Errorf("--auth-namespace %q: %q, want %q", text, l.Namespace, want)
		}
		if v := mustParse(t, nil, []string{"VAULT_TOKEN=t", "VAULT_NAMESPACE=" + text}, "--", "app").Vault; v.Namespace != want {
			t.Errorf("VAULT_NAMESPACE=%q: %q, want %q", text, v.Namespace, want)
		}
	}
}

func TestLoginMistakes(t *testing.T) {
	for _, tc := range []struct {
		env, args []string
		want      string
	}{
		{[]string{"VAULT_TOKEN=canary", "VAULT_TOKEN_FILE=/t"}, nil, "VAULT_TOKEN and VAULT_TOKEN_FILE are both set"},
		{[]string{"VAULT_ROLE_ID=canary", "VAULT_ROLE_ID_FILE=/t"}, nil, "VAULT_ROLE_ID and VAULT_ROLE_ID_FILE are both set"},
		{[]string{"VAULT_ROLE_ID=r", "VAULT_SECRET_ID=canary", "VAULT_SECRET_ID_FILE=/t"}, nil, "VAULT_SECRET_ID and VAULT_SECRET_ID_FILE"},
		{nil, []string{"--auth", "aprole"}, `"aprole" is no auth method; did you mean "approle"?`},
		{nil, []string{"--auth", "approle", "--auth-config", "canary"}, "not KEY=VALUE"},
		{[]string{"VAULT_SKIP_VERIFY=perhaps"}, nil, "VAULT_SKIP_VERIFY: "},
		{[]string{"VAULT_ADDR=vault:8200"}, nil, "VAULT_ADDR: "},
		{nil, []string{"--config", "a.hcl", "--auth", "ldap"}, "already chosen by auto_auth in a.hcl:1:1"},
	} {
		_, err := parse(t, map[string]string{"a.hcl": autoAuth}, tc.env, append(tc.args, "--", "app")...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v %v: %v, want %q", tc.env, tc.args, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("a credential is in %v", err)
		}
	}
}

// The program never inherits what logs in.
func TestStripList(t *testing.T) {
	c := mustParse(t, nil, nil, "--", "app")
	e := environ.From([]string{"VAULT_TOKEN=1", "VAULT_TOKEN_FILE=1", "APPROLE_SECRET_ID=1", "VAULT_SECRET_ID_FILE=1", "ENVEXEC_QUIET=1", "VAULT_ADDR=1", "VAULT_CACERT=1", "VAULT_NAMESPACE=1", "HOME=1"})
	if got := strings.Join(e.Strip(c.Environment.Strip...).Names(), " "); got != "HOME VAULT_ADDR VAULT_CACERT VAULT_NAMESPACE" {
		t.Error(got)
	}
}

// A credential is given as NAME, as NAME_FILE, or as the systemd credential NAME.
func TestLoginCredentialFiles(t *testing.T) {
	dir := map[string]string{"creds/VAULT_ROLE_ID": "r", "creds/VAULT_SECRET_ID": "s", "creds/VAULT_TOKEN": "t", "creds/VAULT_PASSWORD": "p", "creds/VAULT_JWT": "j"}
	for _, tc := range []struct {
		name, want string
		env        []string
	}{
		{"approle", "approle remove_secret_id_file_after_reading=false role_id_file_path=creds/VAULT_ROLE_ID secret_id_file_path=creds/VAULT_SECRET_ID",
			[]string{"ENVEXEC_AUTH=approle"}},
		{"token", "token creds/VAULT_TOKEN", nil},
		{"variable goes before", "token ", []string{"VAULT_TOKEN=x"}},
		{"password", "userpass password_file_path=creds/VAULT_PASSWORD remove_password_after_reading=false username=u", []string{"ENVEXEC_AUTH=userpass", "VAULT_USERNAME=u"}},
		{"user name and password by twins", "ldap password_file_path=/p remove_password_after_reading=false username_file_path=/u",
			[]string{"ENVEXEC_AUTH=ldap", "VAULT_USERNAME_FILE=/u", "VAULT_PASSWORD_FILE=/p"}},
		{"jwt", "jwt path=creds/VAULT_JWT remove_jwt_after_reading=false", []string{"ENVEXEC_AUTH=jwt"}},
		{"kubernetes", "kubernetes role=app token_path=/var/token", []string{"ENVEXEC_AUTH=kubernetes", "VAULT_ROLE=app", "VAULT_JWT_FILE=/var/token"}},
		{"github", "github_actions role=ci", []string{"ENVEXEC_AUTH=github_actions", "VAULT_ROLE=ci"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := mustParse(t, dir, append(tc.env, "CREDENTIALS_DIRECTORY=creds"), "--", "app").Login
			got := []string{}
			for k, v := range l.Settings {
				got = append(got, fmt.Sprintf("%s=%v", k, v))
			}
			text := l.Method + " " + l.TokenFile + sorted(got)
			if text = strings.ReplaceAll(text, `\`, "/"); text != tc.want {
				t.Errorf("got %q, want %q", text, tc.want)
			}
			if tc.name == "github" && l.MountPath != "auth/jwt" {
				t.Errorf("mounted at %s", l.MountPath)
			}
		})
	}
	if _, err := parse(t, nil, []string{"ENVEXEC_AUTH=kubernetes", "VAULT_JWT=canary"}, "--", "app"); err == nil || !strings.Contains(err.Error(), "use VAULT_JWT_FILE") {
		t.Errorf("a jwt by variable for kubernetes: %v", err)
	}
}

// Both ways at once is a mistake for every credential, whatever logs in.
func TestLoginTwins(t *testing.T) {
	for _, name := range credentialVariables {
		_, err := parse(t, map[string]string{"a.hcl": autoAuth}, []string{name + "=canary", name + "_FILE=/f"}, "--config", "a.hcl", "--", "app")
		if err == nil || !strings.Contains(err.Error(), name+" and "+name+"_FILE are both set") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// --role for a method without settings of its own.
func TestLoginRoleForCert(t *testing.T) {
	file := map[string]string{"a.hcl": "auto_auth {\n  method \"cert\" { }\n}\n"}
	if l := mustParse(t, file, nil, "--config", "a.hcl", "--role", "web", "--", "app").Login; l.Settings["role"] != "web" {
		t.Errorf("settings %v", l.Settings)
	}
}
