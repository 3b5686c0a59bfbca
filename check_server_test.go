package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// A real Vault behind TLS whose certificate ends soon is worth a word, one that has ended
// is named as the reason, and neither is said of a good one.
func TestCheckServerCertificate(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"key": "s3cret"})
	vault, err := url.Parse(v.Addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, k := range map[string]struct {
		left   time.Duration
		status int
		want   string
	}{
		"good":  {1000 * time.Hour, 0, ""},
		"soon":  {24 * time.Hour, 0, "ends soon, at "},
		"ended": {-time.Hour, statusConfig, "certificate has expired"}, // it is its own authority, which is told as well
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := certificate(t, "vault", k.left, "127.0.0.1")
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			place(t, dir, name+".pem", cert)
			front := httptest.NewUnstartedServer(&httputil.ReverseProxy{
				Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(vault) },
				Transport: &http.Transport{DisableKeepAlives: true},
			})
			front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			front.Config.ErrorLog = log.New(io.Discard, "", 0)
			front.StartTLS()
			defer front.Close()
			cmd := exec.CommandContext(t.Context(), "envexec", "check", "--env", "KEY=secret/app#key")
			cmd.Env = []string{"VAULT_ADDR=" + front.URL, "VAULT_TOKEN=" + v.RootToken, "VAULT_CACERT=" + filepath.Join(dir, name+".pem"), "GORACE=atexit_sleep_ms=0"}
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != k.status {
				t.Errorf("status %d, want %d\n%s", cmd.ProcessState.ExitCode(), k.status, out)
			}
			said := ""
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, front.URL) && !strings.Contains(line, "answers, version") {
					said += line
				}
			}
			if (k.want == "") != (said == "") || !strings.Contains(said, k.want) {
				t.Errorf("of the server's certificate it says %q, want %q\n%s", said, k.want, out)
			}
		})
	}
}
