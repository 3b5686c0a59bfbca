package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// checkPatience bounds all that check asks Vault.
const checkPatience = 30 * time.Second

// server logs in, says who the token is and what it may read, and revokes it.
func (c *checkup) server(ctx context.Context, cfg *config.Config, env environ.Environ) {
	wanted, err := wantedSecrets(cfg)
	c.fail("secret", statusConfig, err)
	if !wanted.any() && len(cfg.Sinks) == 0 && (len(cfg.Listeners) == 0 || cfg.Login.Method == "") {
		return
	}
	v := &vaultSide{cfg: cfg, log: silent()}
	if v.client, err = newClient(cfg.Vault, env); err != nil {
		c.fail("vault", statusConfig, err)
		return
	}
	c.templates(v, wanted, env)
	asking, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	client, own := c.login(asking, v.client, cfg.Login, env)
	if client == nil {
		return
	}
	c.capabilities(asking, client, wanted)
	if !own {
		return
	}
	ctx, stop := context.WithTimeout(ctx, revokePatience) // however long the rest took
	defer stop()
	if _, err := method.Send(ctx, client, http.MethodPut, "auth/token/revoke-self", nil); err != nil {
		c.add(doubt, "token", "check could not revoke its own login, it ends with its TTL: %v", err)
	}
}

// templates parses them all, as a start would.
func (c *checkup) templates(v *vaultSide, w wanted, env environ.Environ) {
	var err error
	if v.store, err = v.newStore(); err == nil {
		_, err = v.newRenderer(w, env, envtemplate.Delivery{Dir: os.TempDir()}) // only named, never used
	}
	c.fail("template", statusConfig, err)
	if n := len(w.templates) + len(w.envTemplates); err == nil && n > 0 {
		c.add(fine, "template", "%d parsed; what they read is known only when they run", n)
	}
}

// login makes one login and returns a client with its token, and whether the login
// is check's own. A nil client: there is none.
func (c *checkup) login(ctx context.Context, base *api.Client, l config.Login, env environ.Environ) (client *api.Client, own bool) {
	l.Settings = leaveFiles(l)
	m, err := newMethod(l, env, silent())
	if err != nil {
		c.fail("login", statusConfig, err)
		return nil, false
	}
	client = base.WithNamespace(base.Namespace())
	if l.Namespace != "" {
		client.SetNamespace(l.Namespace)
	}
	if l.Settings["secret_id_response_wrapping_path"] != nil {
		c.wrapped(ctx, client, l.Settings)
		return nil, false
	}
	s, err := m.Login(ctx, client)
	if err != nil {
		c.fail("login", loginStatus(err), err)
		return nil, false
	}
	who := identity{how: l.Method}
	if s.Auth == nil {
		who.token, _ = s.Data["id"].(string)
		who.policies, _ = s.TokenPolicies()
		who.ttl, _ = s.TokenTTL()
		who.name, _ = s.Data["display_name"].(string)
	} else {
		who.how += " at " + l.MountPath
		who.token, who.policies = s.Auth.ClientToken, s.Auth.Policies
		who.ttl = time.Duration(s.Auth.LeaseDuration) * time.Second
		who.name = s.Auth.Metadata["role_name"]
	}
	c.add(fine, "login", "%s", who.how)
	c.add(fine, "token", "%s", who)
	client.SetToken(who.token)
	return client, s.Auth != nil
}

// wrapped looks a response-wrapped secret id up and leaves it wrapped: it answers
// once, so the login cannot be tried.
func (c *checkup) wrapped(ctx context.Context, client *api.Client, settings map[string]any) {
	file, _ := settings["secret_id_file_path"].(string)
	token, err := os.ReadFile(file)
	if err != nil {
		c.fail("login", statusConfig, fmt.Errorf("read the wrapped secret id: %w", err))
		return
	}
	client.SetToken(strings.TrimSpace(string(token)))
	s, err := method.Send(ctx, client, http.MethodGet, "sys/wrapping/lookup", nil)
	if err != nil {
		c.fail("login", loginStatus(err), fmt.Errorf("look the wrapped secret id up: %w", err))
		return
	}
	var created string
	if s != nil {
		created, _ = s.Data["creation_path"].(string)
	}
	if want, _ := settings["secret_id_response_wrapping_path"].(string); strings.Trim(created, "/") != strings.Trim(want, "/") {
		c.fail("login", statusDenied, &method.WrappingError{What: "secret id", Path: file, Created: created, Expected: want})
		return
	}
	c.add(doubt, "login", "not tried: the secret id is response-wrapped as it should be, and check unwraps nothing")
}

// identity is who a token is.
type identity struct {
	how, name, token string
	policies         []string
	ttl              time.Duration
}

// String never holds the token.
func (i identity) String() string {
	text := "policies " + strings.Join(i.policies, ", ")
	if len(i.policies) == 0 {
		text = "policies unknown"
	}
	if i.name != "" {
		text = i.name + ": " + text
	}
	if i.ttl <= 0 {
		return text + "; no end known"
	}
	return text + "; TTL " + i.ttl.String()
}

// leaveFiles returns the login's settings without the order to remove files.
func leaveFiles(l config.Login) map[string]any {
	keep := map[string]string{
		"approle": "remove_secret_id_file_after_reading", "jwt": "remove_jwt_after_reading",
		"ldap": "remove_password_after_reading", "userpass": "remove_password_after_reading",
	}[l.Method]
	if keep == "" {
		return l.Settings
	}
	settings := maps.Clone(l.Settings)
	if settings == nil {
		settings = map[string]any{}
	}
	// Keys are not case sensitive.
	maps.DeleteFunc(settings, func(k string, _ any) bool { return strings.EqualFold(k, keep) })
	settings[keep] = false
	return settings
}

// loginStatus tells a refusal from a Vault that did not answer.
func loginStatus(err error) int {
	var (
		response   *api.ResponseError
		credential *method.CredentialError
	)
	switch {
	case errors.As(err, &credential):
		return statusDenied
	case errors.As(err, &response) && response.StatusCode/100 == 4 && response.StatusCode != http.StatusTooManyRequests:
		return statusDenied
	}
	return statusUnreachable
}

// capabilities asks what the token may do at every path that is named outright.
func (c *checkup) capabilities(ctx context.Context, client *api.Client, w wanted) {
	for _, path := range w.paths() {
		at, known := dataPath(ctx, client, path)
		s, err := method.Send(ctx, client, http.MethodPut, "sys/capabilities-self", map[string]any{"paths": []string{at}})
		if err != nil || s == nil {
			c.add(doubt, "secret", "%s: cannot tell whether it may be read: %v", path, err)
			continue
		}
		var may []string
		list, _ := s.Data[at].([]any)
		for _, one := range list {
			may = append(may, fmt.Sprint(one))
		}
		switch {
		case slices.Contains(may, "read"), slices.Contains(may, "root"):
			c.add(fine, "secret", "%s: may be read", path)
		case !known:
			c.add(doubt, "secret", "%s: cannot tell whether it may be read: its mount is not known", path)
		default:
			c.fail("secret", statusConfig, fmt.Errorf("%s: the token may not read it (%s)", path, strings.Join(may, ", ")))
		}
	}
}

// dataPath is where the secret is read: KV 2 has it below data/. Without an answer
// of Vault it is the path as written, and known is false.
func dataPath(ctx context.Context, client *api.Client, path string) (at string, known bool) {
	s, err := method.Send(ctx, client, http.MethodGet, "sys/internal/ui/mounts/"+path, nil)
	if err != nil || s == nil {
		return path, false
	}
	mount, _ := s.Data["path"].(string)
	options, _ := s.Data["options"].(map[string]any)
	rest, below := strings.CutPrefix(path, mount)
	if !below || options["version"] != "2" || strings.HasPrefix(rest, "data/") {
		return path, true
	}
	return mount + "data/" + rest, true
}

// paths are those named outright, sorted; templates say theirs only when they run.
func (w wanted) paths() []string {
	set := map[string]bool{}
	for _, v := range w.variables {
		set[v.Path] = true
		refs, err := envtemplate.ParseReferences(v.Text)
		if err != nil {
			continue // the renderer says it
		}
		for _, ref := range refs.List() {
			set[ref.Request.Path] = true
		}
	}
	for _, f := range w.from {
		set[f.Path] = true
	}
	for _, f := range w.files {
		set[f.Path] = true
	}
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}
