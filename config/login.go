package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// loginFlags are the login's flags and their variables, before one login is chosen.
type loginFlags struct {
	method, mount, namespace, role, tokenFile string
	noRevoke                                  bool
	settings                                  map[string]any
}

func (l *loginFlags) addSetting(text string) error {
	k, v, ok := strings.Cut(text, "=")
	if !ok || k == "" {
		return errors.New("not KEY=VALUE") // the text may be a credential
	}
	if l.settings == nil {
		l.settings = map[string]any{}
	}
	l.settings[k] = v
	return nil
}

// credentialVariables never reach the program unless they are kept by name.
var credentialVariables = []string{
	"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "APPROLE_ROLE_ID", "APPROLE_SECRET_ID", "VAULT_AUTH_METHOD", "VAULT_ROLE",
	"VAULT_AUTH_PATH", "VAULT_USERNAME", "VAULT_PASSWORD", "VAULT_JWT", "VAULT_ID_TOKEN", "VAULT_UNWRAP_TOKEN", "VAULT_WRAPPED_SECRET_ID",
}

// StripList is what the program does not inherit: credentials, their _FILE twins, our own.
func stripList(p Persist) []string {
	list := []string{"ENVEXEC_*"}
	for _, name := range credentialVariables {
		list = append(list, name, name+"_FILE")
	}
	for _, name := range []string{p.PassphraseEnv, p.OldPassphraseEnv} {
		if name != "" {
			list = append(list, name)
		}
	}
	return list
}

// chooser picks the login: the first that applies, in the order of the manual.
type chooser struct {
	*report
	env  environ.Environ
	line commandLine
	l    *loginFlags
	c    *Config
}

func (h chooser) choose() {
	login := &h.c.Login
	switch {
	case h.c.autoAuth:
		h.mergeFlags(login)
	case h.line.has("auth"), h.fromVariable("ENVEXEC_AUTH"):
		h.byFlags(login)
	case h.line.has("token-file"):
		login.Method, login.TokenFile, login.Source = "token", h.l.tokenFile, "--token-file"
	case h.isSet("VAULT_TOKEN"):
		login.Method, login.Source = "token", "VAULT_TOKEN"
		login.Token, login.TokenFile, _ = h.twin("VAULT_TOKEN")
	case h.isSet("VAULT_ROLE_ID") || h.isSet("APPROLE_ROLE_ID"):
		h.approle(login)
	case h.l.method != "":
		h.byFlags(login)
		login.Source = "VAULT_AUTH_METHOD"
	default:
		h.tokenHelper(login)
	}
	if h.l.namespace != "" {
		login.Namespace = namespace(h.l.namespace)
	}
	if h.l.mount != "" {
		login.MountPath = strings.TrimSuffix(h.l.mount, "/")
	}
	if login.MountPath == "" && login.Method != "" && login.Method != "token" && login.Method != "token_file" {
		login.MountPath = "auth/" + login.Method
	}
	if login.MountPath != "" && !strings.HasPrefix(login.MountPath, "auth/") && !h.c.autoAuth {
		login.MountPath = "auth/" + login.MountPath
	}
	if h.l.noRevoke {
		login.Revoke = false
	}
}

func (h chooser) fromVariable(name string) bool { v, _ := h.env.Get(name); return v != "" }

// mergeFlags lets --auth-config and --role complete a file's method; --auth would replace it.
func (h chooser) mergeFlags(login *Login) {
	if h.line.has("auth") && h.l.method != login.Method {
		h.failSource("--auth", fmt.Sprintf("the login is already chosen by %s", login.Source), "remove one of them")
	}
	for k, v := range h.l.settings {
		if login.Settings == nil {
			login.Settings = map[string]any{}
		}
		login.Settings[k] = v
	}
	if h.line.has("role") {
		if login.Settings == nil {
			login.Settings = map[string]any{}
		}
		login.Settings["role"] = h.l.role
	}
}

// isSet reports whether a variable or its _FILE twin has a value.
func (h chooser) isSet(name string) bool { return h.fromVariable(name) || h.fromVariable(name+"_FILE") }

func (h chooser) twin(name string) (secret.Text, string, bool) { return twin(h.report, h.env, name) }

// twin returns a credential given as NAME or as NAME_FILE; both are an error.
func twin(r *report, env environ.Environ, name string) (secret.Text, string, bool) {
	value, _ := env.Get(name)
	file, _ := env.Get(name + "_FILE")
	if value != "" && file != "" {
		r.failSource(name, fmt.Sprintf("%s and %s_FILE are both set", name, name), "unset one of them")
	}
	return secret.NewText(value), file, value != "" || file != ""
}

func (h chooser) byFlags(login *Login) {
	login.Method, login.Source = h.l.method, "--auth"
	if !h.line.has("auth") {
		login.Source = "ENVEXEC_AUTH"
	}
	if !slices.Contains(methodNames(), login.Method) && login.Method != "token" {
		h.failSource(login.Source, fmt.Sprintf("%q is no auth method", login.Method), choose(login.Method, methodNames()))
		return
	}
	login.Settings = map[string]any{}
	if login.Method == "approle" && (h.isSet("VAULT_ROLE_ID") || h.isSet("APPROLE_ROLE_ID")) {
		source := login.Source
		h.approle(login)
		login.Source = source
	}
	h.credential(login, "username", "VAULT_USERNAME", "username")
	h.credential(login, "password", "VAULT_PASSWORD", "password_file_path")
	h.credential(login, "jwt", "VAULT_JWT", "path")
	if login.Method == "jwt" {
		h.credential(login, "jwt", "VAULT_ID_TOKEN", "path")
	}
	if login.Method == "token" {
		login.Token, login.TokenFile, _ = h.twin("VAULT_TOKEN")
	}
	if h.l.role != "" {
		login.Settings["role"] = h.l.role
	}
	for k, v := range h.l.settings {
		login.Settings[k] = v
	}
}

// credential hands a method the value of a variable, or its twin's path under fileKey.
func (h chooser) credential(login *Login, key, name, fileKey string) {
	uses := map[string][]string{"username": {"userpass", "ldap"}, "password": {"userpass", "ldap"}, "jwt": {"jwt", "kubernetes"}}
	if !slices.Contains(uses[key], login.Method) {
		return
	}
	value, file, ok := h.twin(name)
	switch {
	case !ok:
	case file != "":
		login.Settings[fileKey] = file
	case key == "username":
		login.Settings[key] = value.Reveal()
	default:
		login.Settings[key] = value
	}
}

func (h chooser) approle(login *Login) {
	login.Method = "approle"
	login.Settings = map[string]any{}
	login.Source = idsFromVariables(h.report, h.env, login.Settings)
	for k, v := range h.l.settings {
		login.Settings[k] = v
	}
}

// idsFromVariables completes AppRole settings that name no role id or no secret id, and
// returns the variable the role id came from.
func idsFromVariables(r *report, env environ.Environ, settings map[string]any) (source string) {
	missing := func(key, fileKey string) bool { return settings[key] == nil && settings[fileKey] == nil }
	for _, name := range []string{"VAULT_ROLE_ID", "APPROLE_ROLE_ID"} {
		if value, file, ok := twin(r, env, name); ok && missing("role_id", "role_id_file_path") {
			put(settings, "role_id", value, "role_id_file_path", file)
			source = name
		}
	}
	for _, name := range []string{"VAULT_SECRET_ID", "APPROLE_SECRET_ID"} {
		value, file, ok := twin(r, env, name)
		if !ok || !missing("secret_id", "secret_id_file_path") {
			continue
		}
		put(settings, "secret_id", value, "secret_id_file_path", file)
		if _, said := settings["remove_secret_id_file_after_reading"]; file != "" && !said {
			// A file named by a variable is the user's own, as an env file is: reading it does not use it up.
			settings["remove_secret_id_file_after_reading"] = false
		}
	}
	return source
}

func put(m map[string]any, key string, value secret.Text, fileKey, file string) {
	if file != "" {
		m[fileKey] = file
		return
	}
	m[key] = value
}

// tokenHelper is the last resort, as for the vault command: ~/.vault-token, if it is there.
func (h chooser) tokenHelper(login *Login) {
	home, _ := h.env.Get("HOME")
	if home == "" {
		home, _ = h.env.Get("USERPROFILE")
	}
	file := filepath.Join(home, ".vault-token")
	if home == "" {
		return
	}
	if !h.c.Check.Offline { // else nobody looks: it may be there
		if _, err := os.Stat(file); err != nil {
			return
		}
	}
	login.Method, login.TokenFile, login.Source = "token", file, "~/.vault-token"
}
