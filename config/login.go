package config

import (
	"errors"
	"fmt"
	"maps"
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
	h.twins()
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
		login.Token, login.TokenFile, _ = given(h.env, "VAULT_TOKEN")
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
		login.MountPath = "auth/" + mountOf(login.Method)
	}
	if login.MountPath != "" && !strings.HasPrefix(login.MountPath, "auth/") && !h.c.autoAuth {
		login.MountPath = "auth/" + login.MountPath
	}
	if h.l.noRevoke {
		login.Revoke = false
	}
}

// mountOf is where a method is mounted unless said otherwise.
func mountOf(method string) string {
	switch method {
	case "github_actions", "gitlab":
		return "jwt"
	}
	return method
}

func (h chooser) fromVariable(name string) bool { v, _ := h.env.Get(name); return v != "" }

// mergeFlags lets --auth-config and --role complete a file's method; --auth would replace it.
func (h chooser) mergeFlags(login *Login) {
	if h.line.has("auth") && h.l.method != login.Method {
		h.failSource("--auth", fmt.Sprintf("the login is already chosen by %s", login.Source), "remove one of them")
	}
	more := maps.Clone(h.l.settings)
	if h.line.has("role") {
		if more == nil {
			more = map[string]any{}
		}
		more["role"] = h.l.role
	}
	if login.Settings == nil {
		login.Settings = more
		return
	}
	maps.Copy(login.Settings, more)
}

// isSet reports whether a credential is given in one of the ways of given.
func (h chooser) isSet(name string) bool { _, _, ok := given(h.env, name); return ok }

// twins refuses credentials that are given both as NAME and as NAME_FILE.
func (h chooser) twins() {
	for _, name := range credentialVariables {
		if h.fromVariable(name) && h.fromVariable(name+"_FILE") {
			h.failSource(name, fmt.Sprintf("%s and %s_FILE are both set", name, name), "unset one of them")
		}
	}
}

// given returns a credential given as NAME, as NAME_FILE or as the systemd
// credential NAME, the first of them.
func given(env environ.Environ, name string) (value secret.Text, file string, ok bool) {
	text, _ := env.Get(name)
	file, _ = env.Get(name + "_FILE")
	if dir, _ := env.Get("CREDENTIALS_DIRECTORY"); text == "" && file == "" && dir != "" {
		at := filepath.Join(dir, name)
		if _, err := os.Stat(at); err == nil {
			file = at
		}
	}
	return secret.NewText(text), file, text != "" || file != ""
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
	h.credentials(login)
	if login.Method == "token" {
		login.Token, login.TokenFile, _ = given(h.env, "VAULT_TOKEN")
	}
	if h.l.role != "" {
		login.Settings["role"] = h.l.role
	}
	for k, v := range h.l.settings {
		login.Settings[k] = v
	}
}

// credentials hands a method what the variables say of it.
func (h chooser) credentials(login *Login) {
	switch login.Method {
	case "userpass", "ldap":
		h.credential(login, "VAULT_USERNAME", "username", "username_file_path", "")
		h.credential(login, "VAULT_PASSWORD", "password", "password_file_path", "remove_password_after_reading")
	case "jwt":
		h.credential(login, "VAULT_ID_TOKEN", "jwt", "path", "remove_jwt_after_reading")
		h.credential(login, "VAULT_JWT", "jwt", "path", "remove_jwt_after_reading")
	case "kubernetes":
		if h.fromVariable("VAULT_JWT") {
			h.failSource("VAULT_JWT", "method kubernetes reads its token from a file", "use VAULT_JWT_FILE")
		}
		h.credential(login, "VAULT_JWT", "", "token_path", "")
	}
}

// credential hands the method a variable's value as key, or its twin's path as fileKey. A file
// named by a variable is the user's own, as an env file is: reading it does not use it up.
func (h chooser) credential(login *Login, name, key, fileKey, removeKey string) {
	value, file, ok := given(h.env, name)
	if !ok {
		return
	}
	delete(login.Settings, key)
	delete(login.Settings, fileKey)
	switch {
	case file != "":
		login.Settings[fileKey] = file
		if removeKey != "" {
			login.Settings[removeKey] = false
		}
	case key == "username":
		login.Settings[key] = value.Reveal()
	case key != "":
		login.Settings[key] = value
	}
}

func (h chooser) approle(login *Login) {
	login.Method = "approle"
	login.Settings = map[string]any{}
	login.Source = idsFromVariables(h.env, login.Settings)
	for k, v := range h.l.settings {
		login.Settings[k] = v
	}
}

// idsFromVariables completes AppRole settings that name no role id or no secret id, and
// returns the variable the role id came from.
func idsFromVariables(env environ.Environ, settings map[string]any) (source string) {
	missing := func(key, fileKey string) bool { return settings[key] == nil && settings[fileKey] == nil }
	for _, name := range []string{"VAULT_ROLE_ID", "APPROLE_ROLE_ID"} {
		if value, file, ok := given(env, name); ok && missing("role_id", "role_id_file_path") {
			put(settings, "role_id", value, "role_id_file_path", file)
			source = name
		}
	}
	for _, name := range []string{"VAULT_SECRET_ID", "APPROLE_SECRET_ID"} {
		value, file, ok := given(env, name)
		if !ok || !missing("secret_id", "secret_id_file_path") {
			continue
		}
		put(settings, "secret_id", value, "secret_id_file_path", file)
		if _, said := settings["remove_secret_id_file_after_reading"]; file != "" && !said {
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
