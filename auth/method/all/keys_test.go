package all

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/auth/method/alicloud"
	"github.com/envexec/envexec/auth/method/approle"
	"github.com/envexec/envexec/auth/method/aws"
	"github.com/envexec/envexec/auth/method/azure"
	"github.com/envexec/envexec/auth/method/cert"
	"github.com/envexec/envexec/auth/method/cf"
	"github.com/envexec/envexec/auth/method/gcp"
	"github.com/envexec/envexec/auth/method/jwt"
	"github.com/envexec/envexec/auth/method/kerberos"
	"github.com/envexec/envexec/auth/method/kubernetes"
	"github.com/envexec/envexec/auth/method/oci"
	"github.com/envexec/envexec/auth/method/password"
	"github.com/envexec/envexec/auth/method/tokenfile"
)

// TestDefaults: what a method makes of its required keys alone is what Vault Agent makes of them.
func TestDefaults(t *testing.T) {
	type m = map[string]any
	for name, test := range map[string]struct{ got, want any }{
		"alicloud": {decoded(alicloud.FromMap(m{"role": "r", "region": "eu"})), alicloud.Config{Role: "r", Region: "eu", PollInterval: time.Minute}},
		"approle": {decoded(approle.FromMap(m{"role_id_file_path": "r", "secret_id_file_path": "s"})),
			approle.Config{RoleIDFile: "r", SecretIDFile: "s"}}, // removed after reading
		"aws":               {decoded(aws.FromMap(m{"type": "iam", "role": "r"})), aws.Config{Type: "iam", Role: "r", Region: "us-east-1", PollInterval: time.Minute}},
		"aws, region asked": {decoded(aws.FromMap(m{"type": "iam", "role": "r", "region": ""})), aws.Config{Type: "iam", Role: "r", PollInterval: time.Minute}},
		"azure":             {decoded(azure.FromMap(m{"role": "r", "resource": "x"})), azure.Config{Role: "r", Resource: "x"}}, // scope: see its own tests
		"cert":              {decoded(cert.FromMap(nil)), cert.Config{ReloadPeriod: time.Minute}},
		"cf":                {decoded(cf.FromMap(m{"role": "r"}, func(n string) string { return n })), cf.Config{Role: "r", CertFile: "CF_INSTANCE_CERT", KeyFile: "CF_INSTANCE_KEY"}},
		"gcp":               {decoded(gcp.FromMap(m{"type": "gce", "role": "r"})), gcp.Config{Type: "gce", Role: "r", ServiceAccount: "default", JWTExpiry: 15 * time.Minute}},
		"jwt":               {decoded(jwt.FromMap(m{"path": "p", "role": "r"})), jwt.Config{Path: "p", Role: "r"}},
		"kerberos":          {decoded(kerberos.FromMap(m{"username": "u", "service": "s", "realm": "r", "keytab_path": "k", "krb5conf_path": "c"})), kerberos.Config{Username: "u", Service: "s", Realm: "r", KeytabPath: "k", Krb5ConfPath: "c"}},
		"kubernetes":        {decoded(kubernetes.FromMap(m{"role": "r"})), kubernetes.Config{Role: "r", TokenPath: "/var/run/secrets/kubernetes.io/serviceaccount/token"}},
		"ldap":              {decoded(password.FromMap(m{"username": "u", "password_file_path": "p"})), password.Config{Username: "u", PasswordFile: "p"}},
		"oci":               {decoded(oci.FromMap(m{"type": "apikey", "role": "r"})), oci.Config{Type: "apikey", Role: "r", PollInterval: time.Minute}},
		"token_file":        {decoded(tokenfile.FromMap(m{"token_file_path": "p"})), tokenfile.Config{Path: "p"}},
		"gitlab":            {decoded(jwt.FromGitLab(m{"role": "r"}, func(n string) string { return n })).Token.Reveal(), "VAULT_ID_TOKEN"},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, test.got, test.want)
		}
	}
}

func decoded[C any](c C, _ error) C { return c }

// TestReadPeriods: how often files are looked at besides their events.
func TestReadPeriods(t *testing.T) {
	type m = map[string]any
	for _, test := range []struct {
		name     string
		settings m
		want     time.Duration
	}{
		{"jwt", m{"path": "p", "role": "r"}, 500 * time.Millisecond},
		{"jwt", m{"path": "p", "role": "r", "remove_jwt_after_reading": false}, time.Minute},
		{"jwt", m{"path": "p", "role": "r", "jwt_read_period": "7s"}, 7 * time.Second},
		{"ldap", m{"username": "u", "password_file_path": "p"}, 500 * time.Millisecond},
		{"ldap", m{"username": "u", "password_file_path": "p", "remove_password_after_reading": "false"}, time.Minute},
		{"userpass", m{"username": "u", "password_file_path": "p", "password_read_period": 7}, 7 * time.Second},
		{"cert", m{"reload_period": "2m"}, 2 * time.Minute},
		{"aws", m{"type": "iam", "role": "r", "credential_poll_interval": 90}, 90 * time.Second},
		{"oci", m{"type": "apikey", "role": "r", "credential_poll_interval": "90s"}, 90 * time.Second},
	} {
		made, err := New(test.name, test.settings, Options{})
		if err != nil {
			t.Fatal(err)
		}
		watched, _ := made.(interface {
			Watch() ([]string, time.Duration)
		})
		if _, got := watched.Watch(); got != test.want {
			t.Errorf("%s %v: looked at every %s, want %s", test.name, test.settings, got, test.want)
		}
	}
}

var (
	section = regexp.MustCompile("(?ms)^### `method ([a-z_]+)`\n(.*?)(?:^### |^## |\\z)")
	row     = regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)`")
	keys    = regexp.MustCompile(`unknown key; known are (.*)`)
)

// TestReferenceKeys: the reference page has every method a file may name, with just the keys it takes.
func TestReferenceKeys(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for text := string(page); ; {
		at := section.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		var names []string
		for _, m := range row.FindAllStringSubmatch(text[at[4]:at[5]], -1) {
			names = append(names, m[1])
		}
		documented[text[at[2]:at[3]]] = names
		text = text[at[5]:]
	}
	for _, name := range Names() {
		if name == "token" { // by variable or flag only
			continue
		}
		_, err := New(name, map[string]any{"qqqqqqqqqqqqqqqqqqqqqqqq": 1}, Options{Env: func(n string) string { return "https://" + n }})
		if err == nil {
			t.Fatalf("%s takes any key", name)
		}
		known := strings.Split(keys.FindStringSubmatch(err.Error())[1], ", ")
		slices.Sort(known)
		slices.Sort(documented[name])
		if !slices.Equal(known, documented[name]) {
			t.Errorf("%s takes %v, the page has %v", name, known, documented[name])
		}
		delete(documented, name)
	}
	if len(documented) > 0 {
		t.Errorf("the page has methods that do not exist: %v", slices.Collect(maps.Keys(documented)))
	}
}
