package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/envexec/envexec/secret"
)

// methodKey is one key of a method's config block.
type methodKey struct {
	name     string
	kind     string // string, bool, weak bool, duration, number
	required bool
	instead  string // the key that may be given instead of a required one
	def      string
	doc      string
	ours     bool
	allow    []string
}

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// methodKeys are the config keys of each method.
func methodKeys() map[string][]methodKey {
	role := methodKey{name: "role", kind: "string", required: true, doc: "role to log in as"}
	return map[string][]methodKey{
		"alicloud": {role,
			{name: "region", kind: "string", required: true, doc: "region of the account"},
			{name: "credential_poll_interval", kind: "number", def: "60", doc: "seconds between looks for new credentials"},
			{name: "access_key", kind: "string", doc: "credential, as the rest: the environment goes before, instance metadata after"},
			{name: "access_secret", kind: "string"}, {name: "access_token", kind: "string"}, {name: "role_arn", kind: "string"},
			{name: "role_session_name", kind: "string"}, {name: "role_session_expiration", kind: "number"}, {name: "private_key", kind: "string"},
			{name: "public_key_id", kind: "string"}, {name: "session_expiration", kind: "number"}, {name: "role_name", kind: "string"}},
		"approle": {
			{name: "role_id_file_path", kind: "string", required: true, instead: "role_id", doc: "file with the role id"},
			{name: "secret_id_file_path", kind: "string", doc: "file with the secret id; without it the role id alone logs in"},
			{name: "remove_secret_id_file_after_reading", kind: "weak bool", def: "true", doc: "remove that file once Vault has answered"},
			{name: "secret_id_response_wrapping_path", kind: "string", doc: "the file holds a wrapping token made at this path, auth/approle/role/NAME/secret-id"},
			{name: "role_id", kind: "string", ours: true, doc: "the role id itself, instead of its file"},
			{name: "secret_id", kind: "string", ours: true, doc: "the secret id itself, instead of its file"}},
		"aws": {
			{name: "type", kind: "string", required: true, allow: []string{"iam", "ec2"}, doc: "iam or ec2"}, role,
			{name: "access_key", kind: "string", doc: "credential; without it the environment, the shared file, a web identity or the instance"},
			{name: "secret_key", kind: "string"}, {name: "session_token", kind: "string"},
			{name: "header_value", kind: "string", doc: "the server id header the role demands"},
			{name: "nonce", kind: "string", doc: "for ec2: proves that a later login is the same client"},
			{name: "nonce_file", kind: "string", ours: true, doc: "for ec2: file that keeps a random nonce, made if it is absent"},
			{name: "region", kind: "string", def: "us-east-1", doc: "region of the STS endpoint; empty = ask the instance"},
			{name: "credential_poll_interval", kind: "number", def: "60", doc: "seconds between looks for new credentials"}},
		"azure": {role,
			{name: "resource", kind: "string", required: true, doc: "the resource the role was made for"},
			{name: "object_id", kind: "string", doc: "which managed identity; or client_id"},
			{name: "client_id", kind: "string", doc: "which managed identity; or object_id"},
			{name: "scope", kind: "string", def: "RESOURCE/.default", doc: "scope of the token"},
			{name: "authenticate_from_environment", kind: "weak bool", def: "false", doc: "take AZURE_… variables instead of the instance's identity"}},
		"cert": {
			{name: "name", kind: "string", doc: "the role; without it Vault tries all that match"},
			{name: "ca_cert", kind: "string", doc: "certificate authorities for the login only"},
			{name: "client_cert", kind: "string", doc: "certificate; without it the vault stanza's"},
			{name: "client_key", kind: "string", doc: "its key"},
			{name: "reload", kind: "bool", def: "false", doc: "read the files anew for each login"},
			{name: "reload_period", kind: "duration", def: "1m", doc: "how often to look whether they changed"}},
		"cf": {role},
		"gcp": {
			{name: "type", kind: "string", required: true, allow: []string{"gce", "iam"}, doc: "gce or iam"}, role,
			{name: "credentials", kind: "string", doc: "credential as JSON text"},
			{name: "service_account", kind: "string", def: "default", doc: "account to log in as"},
			{name: "project", kind: "string", doc: "without effect, as in Vault"},
			{name: "jwt_exp", kind: "number", def: "15", doc: "minutes the signed JWT lives"}},
		"jwt": {
			{name: "path", kind: "string", required: true, instead: "jwt", doc: "file with the JWT"}, role,
			{name: "remove_jwt_after_reading", kind: "weak bool", def: "true", doc: "remove that file once Vault has answered"},
			{name: "remove_jwt_follows_symlinks", kind: "weak bool", def: "false", doc: "remove what a link points at"},
			{name: "jwt_read_period", kind: "duration", def: "500ms when removing, else 1m", doc: "how often to look for a new one"},
			{name: "jwt", kind: "string", ours: true, doc: "the JWT itself, instead of its file"}},
		"kerberos": {
			{name: "username", kind: "string", required: true, doc: "account"},
			{name: "service", kind: "string", required: true, doc: "service principal of Vault"},
			{name: "realm", kind: "string", required: true, doc: "realm of the account"},
			{name: "keytab_path", kind: "string", required: true, doc: "its keytab"},
			{name: "krb5conf_path", kind: "string", required: true, doc: "krb5.conf"},
			{name: "disable_fast_negotiation", kind: "weak bool", def: "false", doc: "for old servers"}},
		"kubernetes": {role,
			{name: "token_path", kind: "string", def: serviceAccountToken, doc: "the service account's token"}},
		"ldap": passwordKeys(false),
		"oci": {
			{name: "type", kind: "string", required: true, allow: []string{"apikey", "instance"}, doc: "apikey or instance"}, role,
			{name: "credential_poll_interval", kind: "duration", def: "60s", doc: "how often to look for new credentials"}},
		"token_file": {
			{name: "token_file_path", kind: "string", required: true, doc: "file with the token"}},
		"userpass": passwordKeys(true),
		"github_actions": {
			{name: "role", kind: "string", ours: true, doc: "role to log in as; without it the mount's default"},
			{name: "audience", kind: "string", ours: true, def: "GitHub's", doc: "audience of the token the job asks GitHub for"}},
		"gitlab": {
			{name: "role", kind: "string", ours: true, doc: "role to log in as; without it the mount's default"},
			{name: "token_variable", kind: "string", ours: true, def: "VAULT_ID_TOKEN", doc: "the job's variable with the token, named under id_tokens"}},
	}
}

// passwordKeys are those of ldap, and of userpass, which Vault's agent has not.
func passwordKeys(ours bool) []methodKey {
	return []methodKey{
		{name: "username", kind: "string", required: true, instead: "username_file_path", ours: ours, doc: "account"},
		{name: "password_file_path", kind: "string", required: true, instead: "password", ours: ours, doc: "file with its password"},
		{name: "remove_password_after_reading", kind: "weak bool", def: "true", ours: ours, doc: "remove that file once Vault has answered"},
		{name: "remove_password_follows_symlinks", kind: "weak bool", def: "false", ours: ours, doc: "remove what a link points at"},
		{name: "password_read_period", kind: "duration", def: "500ms when removing, else 1m", ours: ours, doc: "how often to look for a new one"},
		{name: "password", kind: "string", ours: true, doc: "the password itself, instead of its file"},
		{name: "username_file_path", kind: "string", ours: true, doc: "file with the account's name, instead of username"},
	}
}

func methodNames() []string { return slices.Sorted(maps.Keys(methodKeys())) }

// checkMethod looks at the keys of a file's method; all it finds are things Vault sees
// only when it logs in, or never.
func checkMethod(d *decoder, method string, settings map[string]any, pos Position) {
	keys, ok := methodKeys()[method]
	if !ok {
		return
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	path := func(name string) string { return d.key("config." + name) }
	at := func(name string) Position { return d.set[path(name)] }
	given := slices.SortedFunc(maps.Keys(settings), func(a, b string) int {
		p, q := at(a), at(b)
		return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column), cmp.Compare(a, b))
	})
	for _, name := range given {
		i := slices.IndexFunc(keys, func(k methodKey) bool { return k.name == name })
		if i < 0 {
			d.doubt(at(name), path(name), fmt.Sprintf("unknown key of method %s", method), hintKnown(name, names))
			continue
		}
		if problem := keys[i].problem(settings[name]); problem != "" {
			d.doubt(at(name), path(name), problem, "")
		}
	}
	for _, k := range keys {
		if v, set := settings[k.name]; k.required && settings[k.instead] == nil && (!set || v == "" || v == nil) {
			text := fmt.Sprintf("missing: method %s needs it", method)
			if k.instead != "" {
				text += " or " + k.instead
			}
			d.doubt(pos, path(k.name), text, "")
		}
	}
	for _, name := range map[string][]string{"azure": {"resource"}, "gcp": {"service_account"}}[method] {
		if text, ok := settings[name].(string); ok {
			settings[name] = normalAddress(text)
		}
	}
	if method == "azure" && settings["object_id"] != nil && settings["client_id"] != nil {
		d.doubt(at("client_id"), path("client_id"), "only one of object_id and client_id may be given", "")
	}
}

func hintKnown(name string, names []string) string {
	if h := didYouMean(name, names); h != "" {
		return h
	}
	return known(names)
}

// problem says what is wrong with a value as HCL or JSON gave it.
func (k methodKey) problem(v any) string {
	text, isString := v.(string)
	switch k.kind {
	case "string":
		if _, isText := v.(secret.Text); isText {
			return ""
		}
		if !isString {
			return "must be a string"
		}
		if len(k.allow) > 0 && !slices.Contains(k.allow, text) {
			return oneOf(text, k.allow...).Error()
		}
	case "bool":
		if _, ok := v.(bool); !ok {
			return "must be true or false"
		}
	case "weak bool":
		if _, err := parseBool(fmt.Sprint(v)); err != nil {
			return "must be true or false"
		}
	case "duration":
		d, err := parseDuration(fmt.Sprint(v))
		if err != nil {
			return "must be a duration"
		}
		if d <= 0 {
			return "must be above zero"
		}
	case "number":
		var n int
		if err := assign(&n, fmt.Sprint(v)); err != nil || n <= 0 {
			return "must be a whole number above zero"
		}
	}
	return ""
}
