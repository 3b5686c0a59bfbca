package aws

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/method"
)

// keys are one set of AWS credentials.
type keys struct {
	ID, Secret, Token string
	Expires           time.Time // zero = never
}

const (
	early = 5 * time.Minute // temporary keys are replaced so long before their end
	what  = "aws credentials"
)

// credentials returns the first keys the chain finds. Temporary ones are kept until shortly before their end.
func (m *Method) credentials(ctx context.Context) (keys, error) {
	m.mu.Lock()
	k := m.keys
	m.mu.Unlock()
	if !k.Expires.IsZero() && m.cfg.now().Before(k.Expires.Add(-early)) {
		return k, nil
	}
	for _, source := range []func(context.Context) (keys, error){m.given, m.variables, m.shared, m.webIdentity, m.container, m.instance} {
		k, err := source(ctx)
		if err != nil {
			return keys{}, err
		}
		if k.ID != "" && k.Secret != "" {
			m.mu.Lock()
			m.keys = k
			m.mu.Unlock()
			return k, nil
		}
	}
	return keys{}, &method.CredentialError{What: what, Err: errors.New("found neither in the settings, the environment, a file nor a metadata service")}
}

func (m *Method) given(context.Context) (keys, error) {
	return keys{ID: m.cfg.AccessKey, Secret: m.cfg.SecretKey.Reveal(), Token: m.cfg.SessionToken.Reveal()}, nil
}

func (m *Method) variables(context.Context) (keys, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := m.cfg.Env(n); v != "" {
				return v
			}
		}
		return ""
	}
	return keys{
		ID:     first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"),
		Secret: first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"),
		Token:  m.cfg.Env("AWS_SESSION_TOKEN"),
	}, nil
}

func (m *Method) sharedFile() string {
	if f := m.cfg.Env("AWS_SHARED_CREDENTIALS_FILE"); f != "" {
		return f
	}
	home := m.cfg.Env("HOME")
	if home == "" {
		home = m.cfg.Env("USERPROFILE")
	}
	return filepath.Join(home, ".aws", "credentials")
}

// shared reads the profile of the shared credentials file.
func (m *Method) shared(context.Context) (keys, error) {
	path := m.sharedFile()
	text, err := method.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return keys{}, nil
	}
	if err != nil {
		return keys{}, &method.CredentialError{What: what, Path: path, Err: err}
	}
	profile := m.cfg.Env("AWS_PROFILE")
	if profile == "" {
		profile = "default"
	}
	values := section(string(text), profile)
	if values["credential_process"] != "" {
		return keys{}, &method.CredentialError{What: what, Path: path, Err: errors.New("credential_process is not supported")}
	}
	return keys{ID: values["aws_access_key_id"], Secret: values["aws_secret_access_key"], Token: values["aws_session_token"]}, nil
}

// section returns the keys of one [name] of an ini file.
func section(text, name string) map[string]string {
	values, inside := map[string]string{}, false
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			inside = strings.TrimSpace(strings.Trim(line, "[]")) == name
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if inside && ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			values[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
		}
	}
	return values
}

// webIdentity trades a token file (EKS service accounts) for temporary keys.
func (m *Method) webIdentity(ctx context.Context) (keys, error) {
	role, path := m.cfg.Env("AWS_ROLE_ARN"), m.cfg.Env("AWS_WEB_IDENTITY_TOKEN_FILE")
	if role == "" || path == "" {
		return keys{}, nil
	}
	file := method.File{Path: path, What: "aws web identity token"}
	token, err := file.Read()
	if err != nil {
		return keys{}, err
	}
	session := m.cfg.Env("AWS_ROLE_SESSION_NAME")
	if session == "" {
		session = "envexec"
	}
	endpoint := m.cfg.sts
	if endpoint == "" {
		region, err := m.region(ctx)
		if err != nil {
			return keys{}, err
		}
		endpoint = "https://" + stsHost(region) + "/"
	}
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {session}, "WebIdentityToken": {token}}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return keys{}, errors.New("assume the aws role: the endpoint is no URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := method.Fetch(ctx, m.public, "aws sts to assume the role", req)
	if err != nil {
		return keys{}, method.Refused(what, err)
	}
	var answer struct {
		Credentials struct {
			AccessKeyID     string    `xml:"AccessKeyId"`
			SecretAccessKey string    `xml:"SecretAccessKey"`
			SessionToken    string    `xml:"SessionToken"`
			Expiration      time.Time `xml:"Expiration"`
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if xml.Unmarshal(b, &answer) != nil || answer.Credentials.AccessKeyID == "" {
		return keys{}, errors.New("assume the aws role: the answer holds no credentials")
	}
	c := answer.Credentials
	return keys{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration}, nil
}

// container asks the endpoint of ECS or of an EKS pod identity.
func (m *Method) container(ctx context.Context) (keys, error) {
	address := m.cfg.Env("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if r := m.cfg.Env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); r != "" {
		address = "http://169.254.170.2" + r
	}
	if address == "" {
		return keys{}, nil
	}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil || !localEndpoint(req.URL) {
		return keys{}, &method.CredentialError{What: what, Err: errors.New("the container endpoint must use https or be local")}
	}
	token := m.cfg.Env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if path := m.cfg.Env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); path != "" {
		file := method.File{Path: path, What: "aws container authorization token"}
		if token, err = file.Read(); err != nil {
			return keys{}, err
		}
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	b, err := method.Fetch(ctx, m.direct, "the aws container endpoint", req)
	if err != nil {
		return keys{}, err
	}
	return parseKeys(b)
}

// localEndpoint guards the authorization token against a planted address.
func localEndpoint(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.Equal(net.IPv4(169, 254, 170, 2)) ||
		ip.Equal(net.IPv4(169, 254, 170, 23)) || ip.Equal(net.ParseIP("fd00:ec2::23")))
	return u.Scheme == "http" && local
}

// instance asks the metadata service for the role of the EC2 instance.
func (m *Method) instance(ctx context.Context) (keys, error) {
	if strings.EqualFold(m.cfg.Env("AWS_EC2_METADATA_DISABLED"), "true") {
		return keys{}, nil
	}
	const path = "latest/meta-data/iam/security-credentials/"
	role, err := m.imds(ctx, path)
	if err != nil {
		return keys{}, fmt.Errorf("found no aws credentials in the settings, the environment or a file, and none of the instance: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(role)), "\n")
	b, err := m.imds(ctx, path+name)
	if err != nil {
		return keys{}, err
	}
	return parseKeys(b)
}

func parseKeys(b []byte) (keys, error) {
	var k struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}
	if json.Unmarshal(b, &k) != nil || k.AccessKeyID == "" {
		return keys{}, errors.New("read aws credentials: the metadata answer holds none")
	}
	return keys{k.AccessKeyID, k.SecretAccessKey, k.Token, k.Expiration}, nil
}

// imds reads from the instance metadata service, version 2.
func (m *Method) imds(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPut, m.cfg.metadata+"/latest/api/token", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "300")
	token, err := method.Fetch(ctx, m.direct, "the ec2 metadata service", req)
	if err != nil {
		return nil, err
	}
	req, err = http.NewRequest(http.MethodGet, m.cfg.metadata+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-aws-ec2-metadata-token", string(token))
	return method.Fetch(ctx, m.direct, "the ec2 metadata service", req)
}

// document is the body of an ec2 login.
func (m *Method) document(ctx context.Context) (map[string]any, error) {
	doc, err := m.imds(ctx, "latest/dynamic/instance-identity/document")
	if err != nil {
		return nil, err
	}
	signature, err := m.imds(ctx, "latest/dynamic/instance-identity/signature")
	if err != nil {
		return nil, err
	}
	nonce, err := m.ownNonce()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"identity":  base64.StdEncoding.EncodeToString(doc),
		"signature": strings.ReplaceAll(string(signature), "\n", ""),
		"nonce":     nonce,
	}, nil
}

// ownNonce ties later logins of this instance to the first one.
func (m *Method) ownNonce() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cfg.Nonce != "":
		return m.cfg.Nonce, nil
	case m.nonce != "":
		return m.nonce, nil
	case m.cfg.NonceFile == "":
		m.nonce = rand.Text()
		return m.nonce, nil
	}
	f, err := m.cfg.OpenPrivate(m.cfg.NonceFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err == nil {
		m.nonce = rand.Text()
		_, err = f.WriteString(m.nonce)
		return m.nonce, errors.Join(err, f.Sync(), f.Close())
	}
	file := method.File{Path: m.cfg.NonceFile, What: "ec2 nonce"}
	m.nonce, err = file.Read()
	return m.nonce, err
}
