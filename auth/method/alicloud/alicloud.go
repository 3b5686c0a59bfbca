// Package alicloud logs in with Alibaba Cloud credentials: a signed STS request
// that Vault makes in our name. Vault accepts assumed roles only.
//
// Credentials are looked for in the variables ALICLOUD_ACCESS_KEY,
// ALICLOUD_SECRET_KEY and ALICLOUD_SECURITY_TOKEN, then in the settings, then in
// the metadata of the instance's RAM role. With role_arn, the keys found assume
// that role first.
package alicloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/alicloud"
	Role      string // required
	Region    string // required

	AccessKey    string // access_key
	AccessSecret secret.Text
	AccessToken  secret.Text // access_token: temporary keys have one

	RoleARN           string // role_arn: assumed with the keys
	RoleSessionName   string // default "envexec"
	RoleSessionExpiry time.Duration

	PublicKeyID   string // public_key_id, with PrivateKey: an RSA key pair instead of keys
	PrivateKey    secret.Text
	SessionExpiry time.Duration

	RoleName     string        // role_name: the instance's RAM role; "" = asked of the metadata
	PollInterval time.Duration // credential_poll_interval; default 60 s

	Env func(string) string // the environment; nil = empty

	// Seams.
	now           func() time.Time
	metadata, sts string
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	seconds := func(key string) time.Duration { return time.Duration(o.Int(key, 0)) * time.Second }
	c := Config{
		Role:              o.String("role", ""),
		Region:            o.String("region", ""),
		PollInterval:      o.Duration("credential_poll_interval", time.Minute),
		AccessKey:         o.String("access_key", ""),
		AccessSecret:      o.Text("access_secret"),
		AccessToken:       o.Text("access_token"),
		RoleARN:           o.String("role_arn", ""),
		RoleSessionName:   o.String("role_session_name", ""),
		RoleSessionExpiry: seconds("role_session_expiration"),
		PrivateKey:        o.Text("private_key"),
		PublicKeyID:       o.String("public_key_id", ""),
		SessionExpiry:     seconds("session_expiration"),
		RoleName:          o.String("role_name", ""),
	}
	o.Require("role", c.Role)
	o.Require("region", c.Region)
	return c, o.Err()
}

// New checks c and asks nobody anything.
func New(c Config) (*Method, error) {
	switch {
	case c.Role == "" || c.Region == "":
		return nil, errors.New("alicloud: a role and a region are required")
	case (c.AccessKey == "") != c.AccessSecret.Empty():
		return nil, errors.New("alicloud: access_key and access_secret must be given together")
	case (c.PublicKeyID == "") != c.PrivateKey.Empty():
		return nil, errors.New("alicloud: public_key_id and private_key must be given together")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/alicloud"
	}
	if c.RoleSessionName == "" {
		c.RoleSessionName = "envexec"
	}
	if c.PollInterval <= 0 {
		c.PollInterval = time.Minute
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.metadata == "" {
		c.metadata = "http://100.100.100.200"
	}
	if c.sts == "" {
		c.sts = "https://sts." + c.Region + ".aliyuncs.com"
	}
	return &Method{cfg: c, direct: method.Direct(), public: method.Public()}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg            Config
	direct, public *http.Client

	mu   sync.Mutex
	keys keys // temporary ones, until shortly before their end
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	k, err := m.credentials(ctx)
	if err != nil {
		return nil, err
	}
	address := "https://sts." + m.cfg.Region + ".aliyuncs.com/?" + m.query(k, "GetCallerIdentity", nil).Encode()
	header, err := json.Marshal(http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}})
	if err != nil {
		return nil, errors.New("encode the signed headers")
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login", map[string]any{
		"role":                     m.cfg.Role,
		"identity_request_url":     base64.StdEncoding.EncodeToString([]byte(address)),
		"identity_request_headers": base64.StdEncoding.EncodeToString(header),
	})
	return s, method.Refusal(what, err, "received 400 checking", "received 401 checking", "received 403 checking", "received 404 checking",
		"does not match the role's arn", "arn types are supported", "entry for role")
}

// query returns the signed parameters of a POST.
func (m *Method) query(k keys, action string, more url.Values) url.Values {
	q := url.Values{
		"Action": {action}, "Format": {"JSON"}, "Version": {"2015-04-01"}, "RegionId": {m.cfg.Region},
		"AccessKeyId": {k.ID}, "SignatureNonce": {nonce()}, "SignatureVersion": {"1.0"}, "SignatureMethod": {"HMAC-SHA1"},
		"Timestamp": {m.cfg.now().UTC().Format("2006-01-02T15:04:05Z")},
	}
	for name, v := range more {
		q[name] = v
	}
	if k.Token != "" {
		q.Set("SecurityToken", k.Token)
	}
	if k.rsa != nil {
		q.Set("SignatureMethod", "SHA256withRSA")
		q.Set("SignatureType", "PRIVATEKEY")
	}
	q.Set("Signature", k.sign(http.MethodPost, q))
	return q
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(ctx context.Context) (string, error) {
	k, err := m.credentials(ctx)
	if err != nil {
		return "", err
	}
	return method.Fingerprint(k.ID, k.Secret, k.Token), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) { return nil, m.cfg.PollInterval }
