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
	"github.com/envexec/envexec/secret"
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
	requests := c.templates(v, wanted, env)
	asking, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	client, own := c.login(asking, v.client, cfg, env)
	if client == nil {
		return
	}
	c.capabilities(asking, client, requests)
	if !own {
		return
	}
	ctx, stop := context.WithTimeout(ctx, revokePatience) // however long the rest took
	defer stop()
	if _, err := method.Send(ctx, client, http.MethodPut, "auth/token/revoke-self", nil); err != nil {
		c.add(doubt, "token", "check could not revoke its own login, it ends with its TTL: %v", err)
	}
}

// templates parses them all, as a start would, and returns what is known to be read.
func (c *checkup) templates(v *vaultSide, w wanted, env environ.Environ) []secret.Request {
	var renderer *envtemplate.Renderer
	store, err := v.newStore(env)
	if err == nil {
		renderer, err = newRenderer(v.cfg, store.Watch(), w, env, envtemplate.Delivery{Dir: os.TempDir()}, v.log) // only named, never used
	}
	c.fail("template", statusConfig, err)
	if err != nil {
		return nil
	}
	if n := len(w.templates) + len(w.envTemplates); n > 0 {
		c.add(fine, "template", "%d parsed; what is read inside a condition is known only when they run", n)
	}
	return renderer.Requests()
}

// login makes one login and returns a client with its token, and whether the login
// is check's own. A nil client: there is none.
func (c *checkup) login(ctx context.Context, base *api.Client, cfg *config.Config, env environ.Environ) (client *api.Client, own bool) {
	l := cfg.Login
	l.Settings = leaveFiles(l)
	m, err := newMethod(l, cfg.Vault, env, silent())
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
	if tiesNonce(l) {
		c.add(doubt, "login", "not tried: the first login of an EC2 instance ties it to its nonce, and there is none yet")
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

// tiesNonce reports whether a login would be an EC2 instance's first, by a nonce only check knows.
func tiesNonce(l config.Login) bool {
	if l.Method != "aws" || l.Settings["type"] != "ec2" || l.Settings["nonce"] != nil {
		return false
	}
	file, _ := l.Settings["nonce_file"].(string)
	_, err := os.Stat(file)
	return err != nil
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

// capabilities asks what the token may do with everything that is known to be wanted.
func (c *checkup) capabilities(ctx context.Context, base *api.Client, requests []secret.Request) {
	for _, req := range requests {
		client := base
		if req.Namespace != "" {
			client = base.WithNamespace(strings.Trim(base.Namespace(), "/") + "/" + strings.Trim(req.Namespace, "/"))
			client.SetToken(base.Token())
		}
		need := map[secret.Op]string{secret.Read: "read", secret.List: "list", secret.Write: "update"}[req.Op]
		at, known := dataPath(ctx, client, req)
		s, err := method.Send(ctx, client, http.MethodPut, "sys/capabilities-self", map[string]any{"paths": []string{at}})
		if err != nil || s == nil {
			c.add(doubt, "secret", "%s: cannot tell whether it may be read: %v", req, err)
			continue
		}
		var may []string
		list, _ := s.Data[at].([]any)
		for _, one := range list {
			may = append(may, fmt.Sprint(one))
		}
		switch {
		case slices.Contains(may, need), slices.Contains(may, "root"), req.Op == secret.Write && slices.Contains(may, "create"):
			c.add(fine, "secret", "%s: may be %s", req, map[secret.Op]string{secret.Read: "read", secret.List: "listed", secret.Write: "written"}[req.Op])
		case !known:
			c.add(doubt, "secret", "%s: cannot tell whether it may be read: its mount is not known", req)
		default:
			c.fail("secret", statusConfig, fmt.Errorf("%s: the token may not %s it (%s)", req, strings.Replace(need, "update", "write", 1), strings.Join(may, ", ")))
		}
	}
}

// dataPath is where the request goes: KV 2 has secrets below data/, lists below metadata/.
// Without an answer of Vault it is the path as written, and known is false.
func dataPath(ctx context.Context, client *api.Client, req secret.Request) (at string, known bool) {
	s, err := method.Send(ctx, client, http.MethodGet, "sys/internal/ui/mounts/"+req.Path, nil)
	if err != nil || s == nil {
		return req.Path, false
	}
	mount, _ := s.Data["path"].(string)
	options, _ := s.Data["options"].(map[string]any)
	below := map[secret.Op]string{secret.Read: "data/", secret.List: "metadata/"}[req.Op]
	rest, found := strings.CutPrefix(strings.Trim(req.Path, "/")+"/", mount)
	if !found || options["version"] != "2" || below == "" || strings.HasPrefix(rest, below) {
		return req.Path, true
	}
	return strings.TrimSuffix(mount+below+rest, "/"), true
}
