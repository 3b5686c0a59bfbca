package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Types of login.
const (
	GCE = "gce"
	IAM = "iam"
)

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/gcp"
	Type      string // GCE or IAM; required
	Role      string // required

	Credentials secret.Text // credentials: JSON text; iam only
	// ServiceAccount is the account's e-mail; "" or "default" = the credential's own (iam) or the instance's (gce).
	ServiceAccount string
	JWTExpiry      time.Duration // jwt_exp; default 15 min; Vault's limit is the role's max_jwt_exp

	Env func(string) string // the environment; nil = empty

	// Seams.
	now           func() time.Time
	iamAPI, token string
}

// FromMap reads the config block of a Vault Agent file. project is accepted and
// without effect.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Type:           o.String("type", ""),
		Role:           o.String("role", ""),
		Credentials:    o.Text("credentials"),
		ServiceAccount: o.String("service_account", "default"),
		JWTExpiry:      time.Duration(o.Int("jwt_exp", 15)) * time.Minute,
	}
	_ = o.String("project", "")
	o.Require("type", c.Type)
	o.Require("role", c.Role)
	return c, o.Err()
}

// New checks c and asks nobody anything.
func New(c Config) (*Method, error) {
	switch {
	case c.Type != GCE && c.Type != IAM:
		return nil, fmt.Errorf("gcp: type must be %q or %q", GCE, IAM)
	case c.Role == "":
		return nil, errors.New("gcp: a role is required")
	case c.JWTExpiry < 0:
		return nil, errors.New("gcp: jwt_exp must be above zero")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/gcp"
	}
	if c.ServiceAccount == "default" && c.Type == IAM {
		c.ServiceAccount = ""
	}
	if c.ServiceAccount == "" && c.Type == GCE {
		c.ServiceAccount = "default"
	}
	if c.JWTExpiry == 0 {
		c.JWTExpiry = 15 * time.Minute
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.iamAPI == "" {
		c.iamAPI = "https://iamcredentials.googleapis.com"
	}
	return &Method{cfg: c, direct: method.Direct(), public: method.Public()}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg            Config
	direct, public *http.Client
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	var jwt string
	var err error
	if m.cfg.Type == GCE {
		jwt, err = m.instanceToken(ctx, client.Address())
	} else {
		jwt, err = m.signedToken(ctx)
	}
	if err != nil {
		return nil, err
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login", map[string]any{"role": m.cfg.Role, "jwt": jwt})
	return s, method.Refusal(what, err, "googleapi: Error 404") // no such account
}

// metadata reads from the metadata server.
func (m *Method) metadata(ctx context.Context, path string, query url.Values) ([]byte, error) {
	host := m.cfg.Env("GCE_METADATA_HOST")
	if host == "" {
		host = "metadata.google.internal"
	}
	req := &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Scheme: "http", Host: host, Path: "/computeMetadata/v1/instance/service-accounts/" + path, RawQuery: query.Encode()},
		Header: http.Header{"Metadata-Flavor": {"Google"}},
	}
	return method.Fetch(ctx, m.direct, "the gce metadata server", req)
}

func (m *Method) instanceToken(ctx context.Context, address string) (string, error) {
	b, err := m.metadata(ctx, m.cfg.ServiceAccount+"/identity", url.Values{
		"audience": {strings.TrimRight(address, "/") + "/vault/" + m.cfg.Role}, "format": {"full"},
	})
	return strings.TrimSpace(string(b)), err
}

// signedToken is a token that says: this service account asks for this role.
func (m *Method) signedToken(ctx context.Context) (string, error) {
	c, err := m.find()
	if err != nil {
		return "", err
	}
	account := m.cfg.ServiceAccount
	if account == "" {
		account = c.ClientEmail
	}
	if account == "" && c.Type == metadataServer {
		b, err := m.metadata(ctx, "default/email", nil)
		if err != nil {
			return "", err
		}
		account = strings.TrimSpace(string(b))
	}
	if account == "" {
		return "", &method.CredentialError{What: what, Err: errors.New("the credential names no service account: set service_account")}
	}
	claims := map[string]any{"aud": "http://vault/" + m.cfg.Role, "sub": account, "exp": m.cfg.now().Add(m.cfg.JWTExpiry).Unix()}
	if c.Type == serviceAccount && account == c.ClientEmail {
		key, err := method.RSAKey([]byte(c.PrivateKey))
		if err != nil {
			return "", &method.CredentialError{What: what, Err: err}
		}
		return method.SignJWT(key, map[string]any{"kid": c.PrivateKeyID}, claims)
	}
	access, err := m.accessToken(ctx, c)
	if err != nil {
		return "", err
	}
	return m.signByAPI(ctx, access, account, claims)
}

func (m *Method) signByAPI(ctx context.Context, access, account string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", errors.New("encode the token's claims")
	}
	body, err := json.Marshal(map[string]string{"payload": string(payload)})
	if err != nil {
		return "", errors.New("encode the token's claims")
	}
	req, err := http.NewRequest(http.MethodPost, m.cfg.iamAPI+"/v1/projects/-/serviceAccounts/"+url.PathEscape(account)+":signJwt", bytes.NewReader(body))
	if err != nil {
		return "", errors.New("sign a token: the service account makes no URL")
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Content-Type", "application/json")
	b, err := method.Fetch(ctx, m.public, "the google iam credentials api to sign a token", req)
	if err != nil {
		return "", method.Refused(what, err)
	}
	var answer struct {
		SignedJWT string `json:"signedJwt"`
	}
	if json.Unmarshal(b, &answer) != nil || answer.SignedJWT == "" {
		return "", errors.New("sign a token: the answer of the google iam credentials api holds none")
	}
	return answer.SignedJWT, nil
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	if m.cfg.Type == GCE {
		return method.Fingerprint(m.cfg.ServiceAccount), nil
	}
	c, err := m.find()
	if err != nil {
		return "", err
	}
	return method.Fingerprint(c.raw, c.Type), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	if m.cfg.Type == IAM && m.cfg.Credentials.Empty() {
		files = m.files()
	}
	return files, time.Minute
}
