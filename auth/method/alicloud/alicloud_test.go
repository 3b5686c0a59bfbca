package alicloud

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPublishedExample is the example of the provider's documentation of signatures.
func TestPublishedExample(t *testing.T) {
	q := url.Values{
		"Action": {"DescribeRegions"}, "Format": {"XML"}, "AccessKeyId": {"testid"}, "SignatureMethod": {"HMAC-SHA1"}, "SignatureVersion": {"1.0"},
		"SignatureNonce": {"3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"}, "Timestamp": {"2016-02-23T12:46:24Z"}, "Version": {"2014-05-26"},
	}
	if got, want := (keys{Secret: "testsecret"}).sign(http.MethodGet, q), "OLeaidS1JvxuMvnyHOwuJ+uX5qY="; got != want {
		t.Errorf("signature is %s, want %s", got, want)
	}
}

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		want := authtest.NewValue("AKONE secret~one")
		current := authtest.NewValue("AKONE secret~one")
		m, err := New(Config{Role: "app", Region: "eu-central-1", PollInterval: 50 * time.Millisecond, Env: func(name string) string {
			id, key, _ := strings.Cut(current.Get(), " ")
			return map[string]string{"ALICLOUD_ACCESS_KEY": id, "ALICLOUD_SECRET_KEY": key, "ALICLOUD_SECURITY_TOKEN": "sts*token /"}[name]
		}})
		if err != nil {
			t.Fatal(err)
		}
		return authtest.Subject{
			Method: m, Secrets: []string{"secret~one", "secret~two"},
			Check:  func(r authtest.Request) error { return verify(r, want.Get()) },
			Rotate: func() { want.Set("AKTWO secret~two"); current.Set("AKTWO secret~two") },
			Spoil:  func() { want.Set("AKONE other") },
		}
	})
}

// verify does what Vault's plugin checks, and then what STS would.
func verify(r authtest.Request, want string) error {
	encoded, _ := r.Body["identity_request_url"].(string)
	address, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return err
	}
	u, err := url.Parse(string(address))
	if err != nil || u.Scheme != "https" || u.Host != "sts.eu-central-1.aliyuncs.com" {
		return errors.New("wrong url")
	}
	var header http.Header
	encoded, _ = r.Body["identity_request_headers"].(string)
	if b, err := base64.StdEncoding.DecodeString(encoded); err != nil || json.Unmarshal(b, &header) != nil || len(header) == 0 {
		return errors.New("wrong headers")
	}
	q := u.Query()
	id, key, _ := strings.Cut(want, " ")
	if r.Path != "auth/alicloud/login" || r.Body["role"] != "app" || q.Get("Action") != "GetCallerIdentity" || q.Get("Format") != "JSON" ||
		q.Get("RegionId") != "eu-central-1" || q.Get("AccessKeyId") != id || q.Get("SecurityToken") != "sts*token /" {
		return errors.New("wrong request")
	}
	return authtest.AliCloudSigned(q, key)
}

func TestChain(t *testing.T) {
	const temporary = `{"AccessKeyId":"STS","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2099-01-01T00:00:00Z"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.URL.Path == "/latest/meta-data/ram/security-credentials/":
			_, _ = io.WriteString(w, "ram-role\n")
		case r.URL.Path == "/latest/meta-data/ram/security-credentials/ram-role":
			_, _ = io.WriteString(w, temporary)
		case q.Get("Action") == "AssumeRole" && q.Get("RoleArn") == "acs:ram::1:role/r" && q.Get("DurationSeconds") == "900" && authtest.AliCloudSigned(q, "K") == nil:
			_, _ = io.WriteString(w, `{"Credentials":`+temporary+`}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	for name, c := range map[string]Config{
		"instance":     {},
		"assumed role": {AccessKey: "ID", AccessSecret: secret.NewText("K"), RoleARN: "acs:ram::1:role/r", RoleSessionExpiry: 15 * time.Minute},
	} {
		c.Role, c.Region, c.metadata, c.sts = "app", "eu-central-1", s.URL, s.URL
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := m.credentials(t.Context()); err != nil || k.ID != "STS" || k.Token != "t" || k.Expires.Year() != 2099 {
			t.Errorf("%s: %q, %v", name, k.ID, err)
		}
	}
}
