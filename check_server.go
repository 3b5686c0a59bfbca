package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// checkPatience bounds all that check asks Vault, unless --start-timeout says otherwise.
const checkPatience = 30 * time.Second

// server logs in, says who the token is and what it may read, and revokes it.
func (c *checkup) server(ctx context.Context, cfg *config.Config, env environ.Environ) {
	wanted, err := wantedSecrets(cfg)
	c.fail("secret", statusConfig, err)
	if !wanted.any() && len(cfg.Sinks) == 0 && len(cfg.Listeners) == 0 {
		return
	}
	once := *cfg // no event stream for a look
	once.Start.Once = true
	v := &vaultSide{cfg: &once, log: silent()}
	var broken error
	if v.client, broken = newClient(cfg.Vault, env); broken != nil {
		if !c.has("certificate") { // else it has been told
			c.fail("vault", statusConfig, broken)
		}
		if v.client, err = newClient(config.Vault{Address: cfg.Vault.Address}, env); err != nil { // for the templates
			return
		}
	}
	renderers := c.templates(v, wanted, env)
	if broken != nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, cmp.Or(cfg.Start.Timeout, checkPatience))
	defer cancel()
	if !c.health(asking, v.client) || cfg.Login.Method == "" && !wanted.any() && len(cfg.Sinks) == 0 {
		return
	}
	client, own := c.login(asking, v.client, cfg, env)
	if client == nil {
		return
	}
	c.secrets(asking, v.store, client, renderers)
	if !own {
		return
	}
	ctx, stop := context.WithTimeout(ctx, revokePatience) // however long the rest took
	defer stop()
	if _, err := method.Send(ctx, client, http.MethodPut, "auth/token/revoke-self", nil); err != nil {
		c.add(doubt, "token", "check could not revoke its own login, it ends with its TTL: %s", auth.Describe(err))
	}
}

// health asks whether Vault is there and unsealed; false: nothing more can be asked.
func (c *checkup) health(ctx context.Context, base *api.Client) bool {
	client := base.WithNamespace("") // it knows none
	req := client.NewRequest(http.MethodGet, "/v1/sys/health")
	req.Params = url.Values{"standbyok": {"true"}, "perfstandbyok": {"true"}, "drsecondarycode": {"299"}, "sealedcode": {"299"}, "uninitcode": {"299"}}
	answer, err := client.RawRequestWithContext(ctx, req) //nolint:staticcheck // for the TLS connection
	if answer != nil && answer.Body != nil {
		defer func() { _ = answer.Body.Close() }()
	}
	var response *api.ResponseError
	switch {
	case errors.As(err, &response): // something in front of Vault that lets less through
		c.add(doubt, "vault", "%s does not say how it is (%s)", base.Address(), auth.Describe(err))
		return true
	case err != nil:
		var request *url.Error // names a URL nobody asked for
		if errors.As(err, &request) {
			err = request.Err
		}
		c.fail("vault", statusUnreachable, fmt.Errorf("%s cannot be reached: %s", base.Address(), auth.Describe(err)))
		return false
	}
	if answer.TLS != nil && len(answer.TLS.PeerCertificates) > 0 {
		if end := answer.TLS.PeerCertificates[0].NotAfter; time.Until(end) < soon {
			c.add(doubt, "certificate", "the one %s shows ends soon, at %s", base.Address(), stamp(end))
		}
	}
	var health struct {
		Initialized, Sealed bool
		Version             string
	}
	switch err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&health); {
	case err != nil || health.Version == "":
		c.add(doubt, "vault", "%s does not answer as Vault does", base.Address())
	case health.Sealed || !health.Initialized:
		c.fail("vault", statusUnreachable, fmt.Errorf("%s is sealed", base.Address()))
		return false
	default:
		c.add(fine, "vault", "%s answers, version %s", base.Address(), health.Version)
	}
	return true
}

// templates parses them all, as a start would. Where something cannot be parsed the rest is
// looked at piece by piece.
func (c *checkup) templates(v *vaultSide, w wanted, env environ.Environ) []*envtemplate.Renderer {
	var err error
	if v.store, err = v.newStore(env); err != nil {
		c.fail("vault", statusConfig, err)
		return nil
	}
	build := func(w wanted) (*envtemplate.Renderer, error) {
		return newRenderer(v.cfg, v.store.Watch(), w, env, envtemplate.Delivery{Dir: os.TempDir()}, v.log) // only named, never used
	}
	whole, err := build(w)
	if err == nil {
		if n := len(w.templates) + len(w.envTemplates); n > 0 {
			c.add(fine, "template", "%d parsed; what is read inside a condition is known only when they run", n)
		}
		return []*envtemplate.Renderer{whole}
	}
	c.fail("template", statusConfig, err)
	var parts []*envtemplate.Renderer
	for _, one := range w.apart() {
		if r, err := build(one); err == nil {
			parts = append(parts, r)
		}
	}
	return parts
}

// login makes one login and returns a client with its token, and whether the login
// is check's own. A nil client: there is none.
func (c *checkup) login(ctx context.Context, base *api.Client, cfg *config.Config, env environ.Environ) (client *api.Client, own bool) {
	l := cfg.Login
	l.Settings = leaveFiles(l)
	if c.has("credential") || c.used {
		c.add(doubt, "login", "not tried, because of the credential")
		return nil, false
	}
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
		c.fail("login", loginStatus(err), loginError(l, err))
		return nil, false
	}
	who := identity{how: l.Method}
	own = s.Auth != nil // asked first: TokenPolicies fills it in
	if !own {
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
	return client, own
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
		c.fail("login", loginStatus(err), fmt.Errorf("look the wrapped secret id up: %s", auth.Describe(err)))
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
	if auth.Refused(err) {
		return statusDenied
	}
	return statusUnreachable
}

// loginError is err in one line.
func loginError(l config.Login, err error) error {
	how := l.Method
	if l.MountPath != "" {
		how += " at " + l.MountPath
	}
	return fmt.Errorf("%s: %s", how, auth.Describe(err))
}
