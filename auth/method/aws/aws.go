package aws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Types of login.
const (
	IAM = "iam"
	EC2 = "ec2"
)

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/aws"
	Type      string // IAM or EC2; required
	Role      string // required

	AccessKey    string // access_key; with SecretKey these are used and nothing else is tried
	SecretKey    secret.Text
	SessionToken secret.Text

	HeaderValue string // header_value: signed as X-Vault-AWS-IAM-Server-ID
	// Region of the STS endpoint the request is signed for; "" = found from the environment
	// or the instance. us-east-1 means the global endpoint.
	Region       string
	PollInterval time.Duration // credential_poll_interval; default 60 s

	Nonce     string // ec2; "" = NonceFile's, else random, and then a restarted process cannot log in again
	NonceFile string // ec2: made with a random nonce when it is absent

	Env func(string) string // the environment; nil = empty
	// OpenPrivate is os.OpenFile for a file that only our own account may use; nil = with
	// mode 0600, which on Windows says nothing.
	OpenPrivate func(path string, flag int) (*os.File, error)

	// Seams.
	now      func() time.Time
	metadata string
	sts      string // overrides the endpoint
}

// FromMap reads the config block of a Vault Agent file. nonce_file is ours.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Type:         o.String("type", ""),
		Role:         o.String("role", ""),
		AccessKey:    o.String("access_key", ""),
		SecretKey:    o.Text("secret_key"),
		SessionToken: o.Text("session_token"),
		HeaderValue:  o.String("header_value", ""),
		Nonce:        o.String("nonce", ""),
		NonceFile:    o.String("nonce_file", ""),
		Region:       o.String("region", "us-east-1"),
		PollInterval: o.Duration("credential_poll_interval", time.Minute),
	}
	o.Require("type", c.Type)
	o.Require("role", c.Role)
	return c, o.Err()
}

// New checks c and asks nobody anything.
func New(c Config) (*Method, error) {
	switch {
	case c.Type != IAM && c.Type != EC2:
		return nil, fmt.Errorf("aws: type must be %q or %q", IAM, EC2)
	case c.Role == "":
		return nil, errors.New("aws: a role is required")
	case (c.AccessKey == "") != c.SecretKey.Empty():
		return nil, errors.New("aws: access_key and secret_key must be given together")
	case c.Nonce != "" && c.NonceFile != "":
		return nil, errors.New("aws: nonce and nonce_file exclude each other")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/aws"
	}
	if c.PollInterval <= 0 {
		c.PollInterval = time.Minute
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.OpenPrivate == nil {
		c.OpenPrivate = func(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag, 0o600) }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.metadata == "" {
		c.metadata = metadataURL(c.Env)
	}
	return &Method{cfg: c, direct: method.Direct(), public: method.Public()}, nil
}

// metadataURL is where the environment says the instance metadata service is, by the SDKs' variables.
func metadataURL(env func(string) string) string {
	switch own := env("AWS_EC2_METADATA_SERVICE_ENDPOINT"); {
	case own != "":
		return strings.TrimRight(own, "/")
	case strings.EqualFold(env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "IPv6"):
		return "http://[fd00:ec2::254]"
	}
	return "http://169.254.169.254"
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg            Config
	direct, public *http.Client

	mu    sync.Mutex
	keys  keys // last found
	nonce string
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	body, err := m.identity(ctx)
	if err != nil {
		return nil, err
	}
	body["role"] = m.cfg.Role
	return method.Login(ctx, client, m.cfg.MountPath+"/login", body)
}

func (m *Method) identity(ctx context.Context) (map[string]any, error) {
	if m.cfg.Type == EC2 {
		return m.document(ctx)
	}
	k, err := m.credentials(ctx)
	if err != nil {
		return nil, err
	}
	region, err := m.region(ctx)
	if err != nil {
		return nil, err
	}
	return m.callerIdentity(k, region)
}

// callerIdentity is the signed request Vault will make to learn who we are.
func (m *Method) callerIdentity(k keys, region string) (map[string]any, error) {
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	at, host := m.cfg.now(), stsHost(region)
	header := map[string]string{
		"content-type": "application/x-www-form-urlencoded; charset=utf-8",
		"host":         host,
		"x-amz-date":   at.UTC().Format(amzTime),
	}
	if k.Token != "" {
		header["x-amz-security-token"] = k.Token
	}
	if m.cfg.HeaderValue != "" {
		header["x-vault-aws-iam-server-id"] = m.cfg.HeaderValue
	}
	h := http.Header{"Authorization": {sign(header, body, k, region, "sts", at)}}
	for n, v := range header {
		if n != "host" { // Vault takes it from the URL
			h.Set(n, v)
		}
	}
	encoded, err := json.Marshal(h)
	if err != nil {
		return nil, errors.New("encode the signed headers")
	}
	return map[string]any{
		"iam_http_request_method": http.MethodPost,
		"iam_request_url":         base64.StdEncoding.EncodeToString([]byte("https://" + host + "/")),
		"iam_request_headers":     base64.StdEncoding.EncodeToString(encoded),
		"iam_request_body":        base64.StdEncoding.EncodeToString([]byte(body)),
	}, nil
}

// stsHost is the endpoint of a region. Vault's own default is the global one,
// which belongs to us-east-1.
func stsHost(region string) string {
	switch {
	case region == "us-east-1" || region == "aws-global":
		return "sts.amazonaws.com"
	case strings.HasPrefix(region, "cn-"):
		return "sts." + region + ".amazonaws.com.cn"
	}
	return "sts." + region + ".amazonaws.com"
}

func (m *Method) region(ctx context.Context) (string, error) {
	for _, r := range []string{m.cfg.Region, m.cfg.Env("AWS_REGION"), m.cfg.Env("AWS_DEFAULT_REGION")} {
		if r != "" {
			return r, nil
		}
	}
	b, err := m.imds(ctx, "latest/meta-data/placement/region")
	if err != nil {
		return "", fmt.Errorf("find the aws region: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(ctx context.Context) (string, error) {
	if m.cfg.Type == EC2 {
		return method.Fingerprint(m.cfg.Role), nil // an instance's identity does not change
	}
	k, err := m.credentials(ctx)
	if err != nil {
		return "", err
	}
	return method.Fingerprint(k.ID, k.Secret, k.Token), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	if m.cfg.Type == IAM && m.cfg.AccessKey == "" {
		files = append(files, m.sharedFile())
		if f := m.cfg.Env("AWS_WEB_IDENTITY_TOKEN_FILE"); f != "" {
			files = append(files, f)
		}
	}
	return files, m.cfg.PollInterval
}
