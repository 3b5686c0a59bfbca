package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func profile(id, secret string) string {
	return "[default]\naws_access_key_id = none\n\n[app]\naws_access_key_id = " + id + "\naws_secret_access_key=" + secret + "\n"
}

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		path := filepath.Join(t.TempDir(), "credentials")
		authtest.WriteFile(t, path, profile("AKIDONE", "secret/key+one"))
		m, err := New(Config{
			Type: IAM, Role: "app", Region: "eu-central-1", HeaderValue: "vault.example.com",
			Env: env(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": path, "AWS_PROFILE": "app"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("AKIDONE secret/key+one")
		return authtest.Subject{
			Method: m, Secrets: []string{"secret/key+one", "secret/key+two"},
			Check: func(r authtest.Request) error {
				id, key, _ := strings.Cut(want.Get(), " ")
				return verify(r, awssdk.Credentials{AccessKeyID: id, SecretAccessKey: key}, "eu-central-1")
			},
			Rotate: func() {
				want.Set("AKIDTWO secret/key+two")
				authtest.WriteFile(t, path, profile("AKIDTWO", "secret/key+two"))
			},
			Spoil: func() { want.Set("AKIDONE other") },
		}
	})
}

// verify rebuilds the request Vault would make and has the SDK's own signer sign
// it with what STS would know.
func verify(r authtest.Request, c awssdk.Credentials, region string) error {
	decode := func(k string) []byte {
		s, _ := r.Body[k].(string)
		b, _ := base64.StdEncoding.DecodeString(s)
		return b
	}
	if r.Path != "auth/aws/login" || r.Body["role"] != "app" || len(r.Body) != 5 {
		return errors.New("wrong request")
	}
	var header http.Header
	if err := json.Unmarshal(decode("iam_request_headers"), &header); err != nil {
		return err
	}
	verb, _ := r.Body["iam_http_request_method"].(string)
	body := decode("iam_request_body")
	req, err := http.NewRequest(verb, string(decode("iam_request_url")), bytes.NewReader(body))
	if err != nil {
		return err
	}
	given := header.Get("Authorization")
	at, err := time.Parse("20060102T150405Z", header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > time.Minute {
		return fmt.Errorf("wrong date %q", header.Get("X-Amz-Date"))
	}
	if !strings.Contains(given, "x-vault-aws-iam-server-id") || header.Get("X-Vault-Aws-Iam-Server-Id") != "vault.example.com" {
		return errors.New("the server id is not signed")
	}
	req.Header = header.Clone()
	for _, h := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		req.Header.Del(h)
	}
	req.ContentLength = -1 // the length is not signed
	if err := v4.NewSigner().SignHTTP(context.Background(), c, req, hexSum(string(body)), "sts", region, at); err != nil {
		return err
	}
	if want := req.Header.Get("Authorization"); given != want {
		return errors.New("the signature differs from the SDK's")
	}
	if string(body) != "Action=GetCallerIdentity&Version=2011-06-15" || req.URL.Host != "sts."+region+".amazonaws.com" {
		return errors.New("another call was signed")
	}
	return nil
}

func login(t *testing.T, c Config) keys {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Fingerprint(t.Context()); err != nil {
		t.Error(err)
	}
	return k
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

const temporary = `{"AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"session","Expiration":"2099-01-01T00:00:00Z"}`

func TestChain(t *testing.T) {
	base := Config{Type: IAM, Role: "app", Region: "us-east-1"}
	no := filepath.Join(t.TempDir(), "none")

	c := base
	c.AccessKey, c.SecretKey, c.SessionToken = "ID", secret.NewText("K"), secret.NewText("T")
	if k := login(t, c); k.ID != "ID" || k.Token != "T" {
		t.Error("given keys are not used")
	}

	c = base
	c.Env = env(map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "K", "AWS_SESSION_TOKEN": "T"})
	if k := login(t, c); k.ID != "ENV" || k.Token != "T" {
		t.Error("keys of the environment are not used")
	}

	c = base
	token := filepath.Join(t.TempDir(), "token")
	authtest.WriteFile(t, token, "web.identity\n")
	c.Env = env(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": no, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": token})
	c.sts = serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(b))
		if form.Get("WebIdentityToken") != "web.identity" || form.Get("RoleArn") != "arn:aws:iam::1:role/r" || form.Get("Action") != "AssumeRoleWithWebIdentity" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	})
	if k := login(t, c); k.ID != "WEB" || k.Expires.Year() != 2099 {
		t.Errorf("web identity gives %q until %v", k.ID, k.Expires)
	}

	c = base
	container := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "pod" {
			_, _ = io.WriteString(w, temporary)
		}
	})
	c.Env = env(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": no, "AWS_CONTAINER_CREDENTIALS_FULL_URI": container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod"})
	if k := login(t, c); k.ID != "ASIA" {
		t.Error("the container endpoint is not used")
	}
}

// imds answers as version 2 of the instance metadata service.
func imds(t *testing.T) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
			_, _ = io.WriteString(w, "imds-token")
			return
		}
		answer, ok := map[string]string{
			"/latest/meta-data/iam/security-credentials/":     "role\n",
			"/latest/meta-data/iam/security-credentials/role": temporary,
			"/latest/meta-data/placement/region":              "ap-south-1",
			"/latest/dynamic/instance-identity/document":      `{"instanceId":"i-1"}`,
			"/latest/dynamic/instance-identity/signature":     "si\ng",
		}[r.URL.Path]
		if !ok || r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, answer)
	})
}

func TestInstance(t *testing.T) {
	c := Config{Type: IAM, Role: "app", metadata: imds(t), Env: env(map[string]string{"HOME": t.TempDir()})}
	if k := login(t, c); k.ID != "ASIA" || k.Token != "session" {
		t.Errorf("keys of the instance: %q", k.ID)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.region(t.Context()); r != "ap-south-1" || err != nil {
		t.Errorf("region %q, %v", r, err)
	}
}

func TestEC2KeepsItsNonce(t *testing.T) {
	var opened []string
	c := Config{
		Type: EC2, Role: "app", metadata: imds(t), NonceFile: filepath.Join(t.TempDir(), "nonce"),
		OpenPrivate: func(path string, flag int) (*os.File, error) {
			opened = append(opened, path)
			return os.OpenFile(path, flag, 0o600)
		},
	}
	var nonces []any
	for range 2 { // two processes
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		body, err := m.identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if body["signature"] != "sig" || body["identity"] != base64.StdEncoding.EncodeToString([]byte(`{"instanceId":"i-1"}`)) {
			t.Errorf("body %v", body)
		}
		nonces = append(nonces, body["nonce"])
	}
	if nonces[0] == "" || nonces[0] != nonces[1] {
		t.Error("the second process has another nonce")
	}
	if len(opened) == 0 || opened[0] != c.NonceFile {
		t.Errorf("opened as private: %q", opened)
	}
}

func TestContainerEndpointIsGuarded(t *testing.T) {
	for address, want := range map[string]bool{
		"https://example.com/x": true, "http://127.0.0.1/x": true, "http://169.254.170.2/x": true, "http://[::1]/": true,
		"http://example.com/x": false, "http://169.254.169.254/": false, "ftp://localhost/": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := localEndpoint(u); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
