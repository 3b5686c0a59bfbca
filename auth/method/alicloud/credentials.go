package alicloud

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 is what the service's signature version 1.0 is made of
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/method"
)

const (
	what  = "alibaba cloud credentials"
	early = 5 * time.Minute
)

// keys are one set of credentials.
type keys struct {
	ID, Secret, Token string
	Expires           time.Time // zero = never
	rsa               *rsa.PrivateKey
}

func nonce() string { return rand.Text() }

// sign returns the signature of a request's parameters (RPC style, version 1.0).
func (k keys) sign(verb string, q url.Values) string {
	text := verb + "&%2F&" + escape(strings.ReplaceAll(q.Encode(), "+", "%20")) // Encode sorts; ~ and * see escape
	if k.rsa != nil {
		if s, err := method.SignRS256(k.rsa, text); err == nil {
			return base64.StdEncoding.EncodeToString(s)
		}
		return ""
	}
	h := hmac.New(sha1.New, []byte(k.Secret+"&"))
	_, _ = h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// escape is the percent-encoding of RFC 3986. url.Values.Encode differs in the
// space only, which is + there.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// credentials returns the first keys of the chain, with the role assumed.
func (m *Method) credentials(ctx context.Context) (keys, error) {
	m.mu.Lock()
	k := m.keys
	m.mu.Unlock()
	if !k.Expires.IsZero() && m.cfg.now().Before(k.Expires.Add(-early)) {
		return k, nil
	}
	k, err := m.find(ctx)
	if err != nil {
		return keys{}, err
	}
	if m.cfg.RoleARN != "" {
		if k, err = m.assume(ctx, k); err != nil {
			return keys{}, err
		}
	}
	m.mu.Lock()
	m.keys = k
	m.mu.Unlock()
	return k, nil
}

func (m *Method) find(ctx context.Context) (keys, error) {
	env := m.cfg.Env
	k := keys{ID: env("ALICLOUD_ACCESS_KEY"), Secret: env("ALICLOUD_SECRET_KEY"), Token: env("ALICLOUD_SECURITY_TOKEN")}
	if k.ID == "" {
		k = keys{ID: env("ALIBABA_CLOUD_ACCESS_KEY_ID"), Secret: env("ALIBABA_CLOUD_ACCESS_KEY_SECRET"), Token: env("ALIBABA_CLOUD_SECURITY_TOKEN")}
	}
	if k.ID != "" && k.Secret != "" {
		return k, nil
	}
	if m.cfg.AccessKey != "" {
		return keys{ID: m.cfg.AccessKey, Secret: m.cfg.AccessSecret.Reveal(), Token: m.cfg.AccessToken.Reveal()}, nil
	}
	if m.cfg.PublicKeyID != "" {
		return m.keyPair(ctx)
	}
	return m.instance(ctx)
}

// keyPair trades an RSA key pair for a session's keys.
func (m *Method) keyPair(ctx context.Context) (keys, error) {
	key, err := method.RSAKey([]byte(m.cfg.PrivateKey.Reveal()))
	if err != nil {
		return keys{}, &method.CredentialError{What: what, Err: err}
	}
	more := url.Values{"PublicKeyId": {m.cfg.PublicKeyID}}
	if m.cfg.SessionExpiry > 0 {
		more.Set("DurationSeconds", strconv.Itoa(int(m.cfg.SessionExpiry.Seconds())))
	}
	var answer struct {
		SessionAccessKey struct {
			ID         string    `json:"SessionAccessKeyId"`
			Secret     string    `json:"SessionAccessKeySecret"`
			Expiration time.Time `json:"Expiration"`
		}
	}
	if err := m.ask(ctx, keys{ID: m.cfg.PublicKeyID, rsa: key}, "GenerateSessionAccessKey", more, &answer); err != nil {
		return keys{}, err
	}
	s := answer.SessionAccessKey
	return keys{ID: s.ID, Secret: s.Secret, Expires: s.Expiration}, nil
}

// assume trades keys for those of a role.
func (m *Method) assume(ctx context.Context, k keys) (keys, error) {
	more := url.Values{"RoleArn": {m.cfg.RoleARN}, "RoleSessionName": {m.cfg.RoleSessionName}}
	if m.cfg.RoleSessionExpiry > 0 {
		more.Set("DurationSeconds", strconv.Itoa(int(m.cfg.RoleSessionExpiry.Seconds())))
	}
	var answer struct {
		Credentials temporary
	}
	if err := m.ask(ctx, k, "AssumeRole", more, &answer); err != nil {
		return keys{}, err
	}
	return answer.Credentials.keys()
}

// temporary is how STS and the metadata write keys.
type temporary struct {
	AccessKeyID     string `json:"AccessKeyId"`
	AccessKeySecret string
	SecurityToken   string
	Expiration      time.Time
}

func (t temporary) keys() (keys, error) {
	if t.AccessKeyID == "" || t.AccessKeySecret == "" {
		return keys{}, errors.New("read alibaba cloud credentials: the answer holds none")
	}
	return keys{ID: t.AccessKeyID, Secret: t.AccessKeySecret, Token: t.SecurityToken, Expires: t.Expiration}, nil
}

func (m *Method) ask(ctx context.Context, k keys, action string, more url.Values, answer any) error {
	req, err := http.NewRequest(http.MethodPost, m.cfg.sts+"/?"+m.query(k, action, more).Encode(), nil)
	if err != nil {
		return errors.New("ask alibaba cloud sts: the region makes no URL")
	}
	b, err := method.Fetch(ctx, m.public, "alibaba cloud sts for "+action, req)
	if err != nil {
		return method.Refused(what, err)
	}
	if json.Unmarshal(b, answer) != nil {
		return errors.New("ask alibaba cloud sts: the answer is not JSON")
	}
	return nil
}

// instance asks the metadata for the keys of the instance's RAM role.
func (m *Method) instance(ctx context.Context) (keys, error) {
	const path = "/latest/meta-data/ram/security-credentials/"
	get := func(name string) ([]byte, error) {
		req, err := http.NewRequest(http.MethodGet, m.cfg.metadata+path+name, nil)
		if err != nil {
			return nil, err
		}
		return method.Fetch(ctx, m.direct, "the alibaba cloud metadata service", req)
	}
	role := m.cfg.RoleName
	if role == "" {
		b, err := get("")
		if err != nil {
			return keys{}, fmt.Errorf("found no alibaba cloud credentials in the environment or the settings, and none of the instance: %w", err)
		}
		role = strings.TrimSpace(string(b))
	}
	b, err := get(url.PathEscape(role))
	if err != nil {
		return keys{}, err
	}
	var t temporary
	if json.Unmarshal(b, &t) != nil {
		return keys{}, errors.New("read alibaba cloud credentials: the metadata answer is not JSON")
	}
	return t.keys()
}
