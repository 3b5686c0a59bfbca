//go:build integration

package proxy

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationStandby: the proxy stands before a standby of a real raft cluster.
// Vault forwards by itself unless a client forbids it; then it redirects, which the
// proxy follows with all bodies it keeps and hands on with those it does not.
func TestIntegrationStandby(t *testing.T) {
	cluster := vaulttest.StartCluster(t)
	leader := cluster.Leader(t)
	standby := cluster.Nodes[0]
	if standby == leader {
		standby = cluster.Nodes[1]
	}
	straight := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{}}
	defer straight.CloseIdleConnections()
	r := start(t, standby.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Minute} })
	token := []string{"X-Vault-Token", cluster.RootToken}
	const forbid = "X-Vault-No-Request-Forwarding"
	small, large := `{"data":{"v":"small"}}`, `{"data":{"v":"`+strings.Repeat("x", maxReplay)+`"}}`

	t.Run("forwarded", func(t *testing.T) {
		for _, body := range []string{small, large} {
			if a := r.ask(t, "PUT", "/v1/secret/data/app", body, token...); a.status != 200 {
				t.Fatalf("write of %d bytes: %d %s", len(body), a.status, a.body)
			}
			for range 3 {
				if a := r.ask(t, "GET", "/v1/secret/data/app", "", token...); a.status != 200 || !strings.Contains(a.body, body[len(`{"data":`):len(body)-1]) {
					t.Errorf("read after the write: %d %.200s", a.status, a.body)
				}
			}
		}
	})
	t.Run("redirected", func(t *testing.T) {
		header := append(token, forbid, "true")
		path := "/v1/secret/data/redirected?q=%2F"
		if a := ask(t, straight, "PUT", standby.Addr+path, small, header...); a.status != 307 || a.header.Get("Location") != leader.Addr+path {
			t.Fatalf("straight to the standby: %d %s", a.status, a.header.Get("Location"))
		}
		if a := r.ask(t, "PUT", path, small, header...); a.status != 200 {
			t.Errorf("a small body: %d %s", a.status, a.body)
		}
		if a := r.ask(t, "GET", path, "", header...); a.status != 200 || !strings.Contains(a.body, "small") {
			t.Errorf("what was written by a redirect: %d %s", a.status, a.body)
		}
		if a := r.ask(t, "PUT", path, large, header...); a.status != 307 || a.header.Get("Location") != leader.Addr+path {
			t.Errorf("a large body: %d %s, want the redirect itself", a.status, a.header.Get("Location"))
		}
		if a := r.ask(t, "GET", "/v1/secret/data/redirected", "", token...); !strings.Contains(a.body, "small") {
			t.Errorf("the large body arrived nevertheless: %.200s", a.body)
		}
	})
	t.Run("health", func(t *testing.T) {
		for path, want := range map[string]int{"/v1/sys/health": 429, "/v1/sys/health?standbyok=true": 200, "/v1/sys/health?standbycode=418": 418} {
			if a := r.ask(t, "GET", path, ""); a.status != want {
				t.Errorf("%s: %d, want %d", path, a.status, want)
			}
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		a := r.ask(t, "GET", "/v1/sys/storage/raft/snapshot", "", token...)
		unzip, err := gzip.NewReader(strings.NewReader(a.body))
		if a.status != 200 || err != nil {
			t.Fatalf("%d %v %.200s", a.status, err, a.body)
		}
		if n, err := io.Copy(io.Discard, unzip); err != nil || n < 1000 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("election", func(t *testing.T) {
		leader.Kill(t)
		now := cluster.Leader(t)
		for began, n := time.Now(), 0; ; n++ {
			body := fmt.Sprintf(`{"data":{"v":"after-%d"}}`, n)
			if a := r.ask(t, "PUT", "/v1/secret/data/app", body, token...); a.status == 200 {
				if a := r.ask(t, "GET", "/v1/secret/data/app", "", token...); !strings.Contains(a.body, fmt.Sprintf("after-%d", n)) {
					t.Errorf("after the election (%s leads): %d %.200s", now.Addr, a.status, a.body)
				}
				return
			}
			if time.Since(began) > time.Minute {
				t.Fatal("no write succeeds after the election")
			}
		}
	})
}
