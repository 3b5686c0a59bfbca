package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/method"
)

const (
	what            = "google credentials"
	serviceAccount  = "service_account"
	authorizedUser  = "authorized_user"
	externalAccount = "external_account"
	metadataServer  = "metadata"
	scope           = "https://www.googleapis.com/auth/cloud-platform"
)

// credential is a JSON credential of any type.
type credential struct {
	Type         string `json:"type"`
	ClientEmail  string `json:"client_email"`
	PrivateKey   string `json:"private_key"`
	PrivateKeyID string `json:"private_key_id"`
	TokenURI     string `json:"token_uri"`

	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	RefreshToken string `json:"refresh_token"`

	Audience         string `json:"audience"`
	SubjectTokenType string `json:"subject_token_type"`
	TokenURL         string `json:"token_url"`
	Impersonation    string `json:"service_account_impersonation_url"`
	Source           struct {
		File    string            `json:"file"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
		Format  struct {
			Type  string `json:"type"`
			Field string `json:"subject_token_field_name"`
		} `json:"format"`
	} `json:"credential_source"`

	raw string
}

// files lists where credentials may be, in order.
func (m *Method) files() (list []string) {
	home := m.cfg.Env("HOME")
	list = append(list, filepath.Join(home, ".gcp", "credentials"))
	if f := m.cfg.Env("GOOGLE_APPLICATION_CREDENTIALS"); f != "" {
		list = append(list, f)
	}
	dir := filepath.Join(home, ".config", "gcloud")
	if app := m.cfg.Env("APPDATA"); app != "" {
		dir = filepath.Join(app, "gcloud")
	}
	if d := m.cfg.Env("CLOUDSDK_CONFIG"); d != "" {
		dir = d
	}
	return append(list, filepath.Join(dir, "application_default_credentials.json"))
}

// find returns the first credential of the chain; the metadata server is the last.
func (m *Method) find() (credential, error) {
	for _, text := range []string{m.cfg.Credentials.Reveal(), m.cfg.Env("GOOGLE_CREDENTIALS"), m.cfg.Env("GOOGLE_CLOUD_KEYFILE_JSON")} {
		if text == "" {
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(text), "{") { // both variables may name a file
			return read(text)
		}
		return parse(text, "")
	}
	for _, path := range m.files() {
		c, err := read(path)
		if errors.Is(err, fs.ErrNotExist) && path != m.cfg.Env("GOOGLE_APPLICATION_CREDENTIALS") {
			continue
		}
		return c, err
	}
	return credential{Type: metadataServer}, nil
}

func read(path string) (credential, error) {
	b, err := method.ReadFile(path)
	if err != nil {
		return credential{}, &method.CredentialError{What: what, Path: path, Err: err}
	}
	return parse(string(b), path)
}

func parse(text, path string) (credential, error) {
	c := credential{raw: text}
	if json.Unmarshal([]byte(text), &c) != nil {
		return c, &method.CredentialError{What: what, Path: path, Err: errors.New("it is no JSON credential")}
	}
	switch c.Type {
	case serviceAccount, authorizedUser, externalAccount:
		return c, nil
	}
	return c, &method.CredentialError{What: what, Path: path, Err: errors.New("its type is none of service_account, authorized_user, external_account")}
}

// accessToken trades the credential for an OAuth token.
func (m *Method) accessToken(ctx context.Context, c credential) (string, error) {
	switch c.Type {
	case metadataServer:
		b, err := m.metadata(ctx, "default/token", nil)
		if err != nil {
			return "", err
		}
		return tokenIn(b, "access_token")
	case serviceAccount:
		return m.keyGrant(ctx, c)
	case authorizedUser:
		return m.grant(ctx, m.tokenURL(c.TokenURI), "access_token", url.Values{
			"grant_type": {"refresh_token"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret}, "refresh_token": {c.RefreshToken},
		})
	}
	return m.federated(ctx, c)
}

func (m *Method) tokenURL(own string) string {
	switch {
	case m.cfg.token != "":
		return m.cfg.token
	case own != "":
		return own
	}
	return "https://oauth2.googleapis.com/token"
}

// keyGrant is the JWT bearer grant of a service account key.
func (m *Method) keyGrant(ctx context.Context, c credential) (string, error) {
	key, err := method.RSAKey([]byte(c.PrivateKey))
	if err != nil {
		return "", &method.CredentialError{What: what, Err: err}
	}
	now, aud := m.cfg.now(), m.tokenURL(c.TokenURI)
	assertion, err := method.SignJWT(key, map[string]any{"kid": c.PrivateKeyID}, map[string]any{
		"iss": c.ClientEmail, "scope": scope, "aud": aud, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		return "", err
	}
	return m.grant(ctx, aud, "access_token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}})
}

// federated is workload identity federation: a foreign token for a Google one,
// then for a service account's where the credential says so.
func (m *Method) federated(ctx context.Context, c credential) (string, error) {
	subject, err := m.subject(ctx, c)
	if err != nil {
		return "", err
	}
	access, err := m.grant(ctx, m.tokenURL(c.TokenURL), "access_token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "audience": {c.Audience}, "scope": {scope},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"subject_token":        {subject}, "subject_token_type": {c.SubjectTokenType},
	})
	if err != nil || c.Impersonation == "" {
		return access, err
	}
	req, err := http.NewRequest(http.MethodPost, c.Impersonation, strings.NewReader(`{"scope":["`+scope+`"]}`))
	if err != nil {
		return "", &method.CredentialError{What: what, Err: errors.New("the impersonation URL is no URL")}
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Content-Type", "application/json")
	b, err := method.Fetch(ctx, m.public, "google to impersonate the service account", req)
	if err != nil {
		return "", method.Refused(what, err)
	}
	return tokenIn(b, "accessToken")
}

func (m *Method) subject(ctx context.Context, c credential) (string, error) {
	var text []byte
	switch s := c.Source; {
	case s.File != "":
		file := method.File{Path: s.File, What: "google subject token"}
		value, err := file.Read()
		if err != nil {
			return "", err
		}
		text = []byte(value)
	case s.URL != "":
		req, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			return "", &method.CredentialError{What: what, Err: errors.New("the credential source is no URL")}
		}
		for k, v := range s.Headers {
			req.Header.Set(k, v)
		}
		if text, err = method.Fetch(ctx, m.direct, "the credential source", req); err != nil {
			return "", err
		}
	default:
		return "", &method.CredentialError{What: what, Err: errors.New("only file and url sources of an external account are supported")}
	}
	if c.Source.Format.Type == "json" {
		return tokenIn(text, c.Source.Format.Field)
	}
	return strings.TrimSpace(string(text)), nil
}

func (m *Method) grant(ctx context.Context, address, field string, form url.Values) (string, error) {
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", &method.CredentialError{What: what, Err: errors.New("the token endpoint is no URL")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := method.Fetch(ctx, m.public, "google for an access token", req)
	if err != nil {
		return "", method.Refused(what, err)
	}
	return tokenIn(b, field)
}

func tokenIn(b []byte, field string) (string, error) {
	var answer map[string]any
	if json.Unmarshal(b, &answer) == nil {
		if s, ok := answer[field].(string); ok && s != "" {
			return s, nil
		}
	}
	return "", errors.New("ask google for an access token: the answer holds none")
}
