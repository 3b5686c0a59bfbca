package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config says who logs in and where the token comes from: exactly one of Path,
// Token and GitHub is required.
type Config struct {
	MountPath string // default "auth/jwt"
	Role      string // required by Vault unless the mount has a default role

	Path string // the file
	// KeepFile is the opposite of remove_jwt_after_reading: by default the file is removed.
	KeepFile bool
	// FollowSymlinks removes a symlink's target instead of the link (remove_jwt_follows_symlinks).
	FollowSymlinks bool
	// ReadPeriod is jwt_read_period, how often the file is looked at besides file events;
	// default 500 ms when it is removed, else 1 min.
	ReadPeriod time.Duration

	Token  secret.Text // the token itself
	GitHub *GitHub     // ask GitHub Actions for one at each login

	Logger *slog.Logger // default: none
}

// GitHub is what a job with the permission id-token: write finds in its environment.
type GitHub struct {
	RequestURL   string      // ACTIONS_ID_TOKEN_REQUEST_URL
	RequestToken secret.Text // ACTIONS_ID_TOKEN_REQUEST_TOKEN
	Audience     string      // "" = GitHub's default, the repository owner's URL
}

// FromMap reads the config block of a Vault Agent file. Besides its keys, jwt
// gives the token itself.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Path:           o.String("path", ""),
		Role:           o.String("role", ""),
		KeepFile:       !o.Bool("remove_jwt_after_reading", true),
		FollowSymlinks: o.Bool("remove_jwt_follows_symlinks", false),
		ReadPeriod:     o.Duration("jwt_read_period", 0),
		Token:          o.Text("jwt"),
	}
	o.OneOf("path", "jwt")
	o.Require("role", c.Role)
	return c, o.Err()
}

// FromGitHub reads role and audience, and the rest from the job's environment.
func FromGitHub(m map[string]any, env func(string) string) (Config, error) {
	o := method.NewOptions(m)
	c := Config{Role: o.String("role", ""), GitHub: &GitHub{
		Audience:     o.String("audience", ""),
		RequestURL:   env("ACTIONS_ID_TOKEN_REQUEST_URL"),
		RequestToken: secret.NewText(env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")),
	}}
	if c.GitHub.RequestURL == "" || c.GitHub.RequestToken.Empty() {
		return c, errors.Join(o.Err(), errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not set: the job needs the permission id-token: write"))
	}
	return c, o.Err()
}

// FromGitLab reads role, and token_variable: the name of the id token's variable
// in the job's environment, VAULT_ID_TOKEN by default.
func FromGitLab(m map[string]any, env func(string) string) (Config, error) {
	o := method.NewOptions(m)
	name := o.String("token_variable", "VAULT_ID_TOKEN")
	c := Config{Role: o.String("role", ""), Token: secret.NewText(env(name))}
	if c.Token.Empty() {
		return c, errors.Join(o.Err(), errors.New(name+" is not set: the job needs it under id_tokens"))
	}
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	n := 0
	for _, given := range []bool{c.Path != "", !c.Token.Empty(), c.GitHub != nil} {
		if given {
			n++
		}
	}
	if n != 1 {
		return nil, errors.New("jwt: exactly one source of the token is required")
	}
	if c.GitHub != nil {
		if u, err := url.Parse(c.GitHub.RequestURL); err != nil || u.Host == "" {
			return nil, errors.New("jwt: the request URL of GitHub is no URL")
		}
	}
	if c.MountPath == "" {
		c.MountPath = "auth/jwt"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ReadPeriod <= 0 {
		c.ReadPeriod = method.ReadPeriod(!c.KeepFile)
	}
	return &Method{cfg: c, file: method.File{Path: c.Path, What: "jwt", Remove: !c.KeepFile, FollowSymlinks: c.FollowSymlinks}}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg  Config
	file method.File
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	token, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"jwt": token}
	if m.cfg.Role != "" {
		body["role"] = m.cfg.Role
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login", body)
	if removal := m.file.Spent(err); removal != nil {
		m.cfg.Logger.Warn("jwt file stays readable", "error", removal)
	}
	return s, err
}

func (m *Method) token(ctx context.Context) (string, error) {
	switch {
	case m.cfg.GitHub != nil:
		return m.cfg.GitHub.fetch(ctx)
	case m.cfg.Path == "":
		return m.cfg.Token.Reveal(), nil
	}
	return m.file.Read()
}

func (g *GitHub) fetch(ctx context.Context) (string, error) {
	u, err := url.Parse(g.RequestURL)
	if err != nil {
		return "", errors.New("ask github for an id token: the request URL is no URL")
	}
	if g.Audience != "" {
		q := u.Query()
		q.Set("audience", g.Audience)
		u.RawQuery = q.Encode()
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
		"Authorization": {"bearer " + g.RequestToken.Reveal()}, "Accept": {"application/json; api-version=2.0"},
	}}
	body, err := method.Fetch(ctx, method.Public(), "github for an id token", req)
	if err != nil {
		return "", method.Refused("github's id token", err)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Value == "" {
		return "", errors.New("ask github for an id token: the answer holds none")
	}
	return answer.Value, nil
}

// Consumes implements method.Consumer.
func (m *Method) Consumes() bool { return m.cfg.Path != "" && !m.cfg.KeepFile }

// Fingerprint implements method.Credentials. A token asked for anew at each login never changes.
func (m *Method) Fingerprint(context.Context) (string, error) {
	switch {
	case m.cfg.GitHub != nil:
		return method.Fingerprint(m.cfg.GitHub.RequestToken.Reveal()), nil
	case m.cfg.Path == "":
		return method.Fingerprint(m.cfg.Token.Reveal()), nil
	}
	return method.Fingerprint(m.file.Peek()), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	if m.cfg.Path == "" {
		return nil, 0
	}
	return []string{m.cfg.Path}, m.cfg.ReadPeriod
}
