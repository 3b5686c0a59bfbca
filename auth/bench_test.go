//go:build unix

package auth_test

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// canned answers every request at once: what is left is our own work.
type canned struct{}

func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	body := `{"auth":{"client_token":"hvs.x","accessor":"a","policies":["default"],"lease_duration":3600,"renewable":true,"token_type":"service"}}`
	if strings.HasSuffix(r.URL.Path, "lookup-self") {
		body = `{"data":{"id":"hvs.x","ttl":3600,"renewable":true,"policies":["default"]}}`
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: io.NopCloser(bytes.NewReader([]byte(body)))}, nil
}

// BenchmarkLogin measures the processor time of one login by each method, reading and
// signing credentials included. Where a provider has to be asked first, or TLS is the
// point, it includes a loopback server's time as well.
func BenchmarkLogin(b *testing.B) {
	dir := b.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		authtest.WriteFile(b, path, text)
		return path
	}
	cert, key := authtest.Certificate(b, authtest.Key(), pkix.Name{CommonName: "app"})
	session := "h." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix())) + ".s"
	answers := map[string]string{ // by the end of the path
		"cert.pem": cert, "key.pem": key, "intermediate.pem": cert, "region": "eu-frankfurt-1", // of an instance at Oracle
		"/lasting/v1/x509": `{"token":"` + session + `"}`, "/ended/v1/x509": `{"token":"t"}`,
	}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for end, answer := range answers {
			if strings.HasSuffix(r.URL.Path, end) {
				_, _ = io.WriteString(w, answer)
				return
			}
		}
		_, _ = io.WriteString(w, `{"access_token":"t","value":"t"}`)
	}))
	defer provider.Close()
	account, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@p", "private_key": key, "private_key_id": "1"})
	if err != nil {
		b.Fatal(err)
	}
	type m = map[string]any
	env := map[string]string{
		"CF_INSTANCE_CERT": file("cert.pem", cert), "CF_INSTANCE_KEY": file("key.pem", key), "HOME": dir,
		"AZURE_AUTHORITY_HOST": provider.URL, "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s",
		"ACTIONS_ID_TOKEN_REQUEST_URL": provider.URL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "VAULT_ID_TOKEN": "t", "GCE_METADATA_HOST": strings.TrimPrefix(provider.URL, "http://"),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": provider.URL, "OCI_METADATA_BASE_URL": provider.URL, "OCI_SDK_AUTH_CLIENT_REGION_URL": provider.URL + "/lasting",
		"OCI_CONFIG_FILE": file("oci", "[DEFAULT]\ntenancy=t\nuser=u\nfingerprint=f\nkey_file=~/key.pem\n"),
	}
	for _, test := range []struct {
		name, method string
		settings     m
	}{
		{"alicloud", "", m{"role": "r", "region": "eu", "access_key": "a", "access_secret": "b"}},
		{"approle", "", m{"role_id_file_path": file("role", "r"), "secret_id_file_path": file("secret", "s"), "remove_secret_id_file_after_reading": false}},
		{"aws iam", "aws", m{"type": "iam", "role": "r", "access_key": "a", "secret_key": "b"}},
		{"aws ec2", "aws", m{"type": "ec2", "role": "r"}},
		{"azure", "", m{"role": "r", "resource": "https://vault", "authenticate_from_environment": true}},
		{"cert", "", m{"client_cert": file("cert.pem", cert), "client_key": file("key.pem", key)}},
		{"cf", "", m{"role": "r"}},
		{"gcp gce", "gcp", m{"type": "gce", "role": "r"}},
		{"gcp iam", "gcp", m{"type": "iam", "role": "r", "credentials": string(account)}},
		{"github_actions", "", m{"role": "r"}},
		{"gitlab", "", m{"role": "r"}},
		{"jwt", "", m{"role": "r", "path": file("jwt", "eyJ.x.y"), "remove_jwt_after_reading": false}},
		{"kubernetes", "", m{"role": "r", "token_path": file("sa", "eyJ.x.y")}},
		{"ldap", "", m{"username": "u", "password_file_path": file("password", "p"), "remove_password_after_reading": false}},
		{"oci", "", m{"type": "apikey", "role": "r"}},
		{"oci instance", "oci", m{"type": "instance", "role": "r"}},
		{"oci instance, new session", "oci", m{"type": "instance", "role": "r"}},
		{"oci instance, first login", "oci", m{"type": "instance", "role": "r"}},
		{"token", "", m{"token": "t"}},
		{"token_file", "", m{"token_file_path": file("token", "t")}},
		{"userpass", "", m{"username": "u", "password": "p"}},
	} {
		if test.method == "" {
			test.method = test.name
		}
		b.Run(test.name, func(b *testing.B) {
			if test.name == "oci instance, new session" {
				env["OCI_SDK_AUTH_CLIENT_REGION_URL"] = provider.URL + "/ended"
			}
			method := func() auth.Method {
				made, err := all.New(test.method, test.settings, all.Options{Env: func(name string) string { return env[name] }})
				if err != nil {
					b.Fatal(err)
				}
				return made
			}
			if test.name != "oci instance, first login" {
				made := method()
				method = func() auth.Method { return made }
			}
			benchLogin(b, method, test.name == "cert")
		})
	}
}

// benchLogin logs in by what method returns.
func benchLogin(b *testing.B, method func() auth.Method, overTLS bool) {
	cfg := api.DefaultConfig()
	cfg.Address, cfg.AgentAddress, cfg.MaxRetries, cfg.HttpClient = "http://vault.test", "", 0, &http.Client{Transport: canned{}}
	if overTLS {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			resp, _ := canned{}.RoundTrip(r)
			_, _ = io.Copy(w, resp.Body)
		}))
		defer server.Close()
		ca := filepath.Join(b.TempDir(), "ca")
		authtest.WriteFile(b, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		cfg.Address, cfg.HttpClient = server.URL, api.DefaultConfig().HttpClient
		if err := cfg.ConfigureTLS(&api.TLSConfig{CACert: ca}); err != nil {
			b.Fatal(err)
		}
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		b.Fatal(err)
	}
	client.ClearToken()
	before := processorTime()
	for b.Loop() {
		if _, err := method().Login(b.Context(), client); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((processorTime()-before)/float64(b.N), "cpu-ms/op")
}

// processorTime is this process's, in milliseconds.
func processorTime() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

// BenchmarkFleet starts 1,000 sessions at once against a real Vault with a rate-limit
// quota of 100 a second, each with clients and credentials of its own.
func BenchmarkFleet(b *testing.B) {
	const fleet, quota = 1000, 100
	v := vaulttest.Start(b)
	v.Policy(b, "app", `path "secret/*" { capabilities = ["read"] }`)
	role := v.AppRole(b, map[string]any{"token_type": "batch"}, "app")
	v.Write(b, "sys/quotas/rate-limit/fleet", map[string]any{"rate": quota})
	for b.Loop() {
		var mu sync.Mutex
		offered := map[int]int{} // attempts by second
		begin := time.Now()
		var last time.Duration
		gaveUp := 0
		count := func(in bool) {
			mu.Lock()
			defer mu.Unlock()
			offered[int(time.Since(begin).Seconds())]++
			if in {
				last = time.Since(begin)
			}
		}
		var work sync.WaitGroup
		for range fleet {
			m, err := all.New("approle", map[string]any{"role_id": role.ID, "secret_id": role.SecretID}, all.Options{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, leave := context.WithCancel(b.Context())
			s, err := auth.New(auth.Config{
				Client: v.ClientFor(b, ""), Method: m, Sinks: []auth.Sink{sinkFunc(func() { count(true); leave() })},
				Trace: auth.Trace{OnFailure: func(error, time.Time) { count(false) }},
			})
			if err != nil {
				b.Fatal(err)
			}
			work.Go(func() {
				if s.Run(ctx) != nil {
					mu.Lock()
					defer mu.Unlock()
					gaveUp++
				}
			})
		}
		work.Wait()
		most := 0
		for second, n := range offered {
			if second >= 5 {
				most = max(most, n)
			}
		}
		b.ReportMetric(last.Seconds(), "s-until-all-in")
		b.ReportMetric(float64(most)/quota, "offered/quota-from-5s")
		b.ReportMetric(float64(gaveUp), "gave-up")
	}
}

// sinkFunc is a sink that only says so.
type sinkFunc func()

func (f sinkFunc) WriteToken(context.Context, secret.Token) error { f(); return nil }
