//go:build integration

package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationMonitorStreams: sys/monitor shows a line when Vault writes it, though
// the answer never ends; leaving ends it at Vault.
func TestIntegrationMonitorStreams(t *testing.T) {
	v := vaulttest.Start(t)
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true} })
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/sys/monitor?log_level=trace", nil)
	req.Header.Set("X-Vault-Token", v.RootToken)
	resp, err := r.client.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("monitor: %v %v", resp, err)
	}
	defer resp.Body.Close()
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			lines <- in.Text()
		}
	}()
	limit := time.After(time.Minute)
	for i := 0; ; i++ {
		v.Mount(t, fmt.Sprintf("mount%d", i), "kv", nil) // Vault says so in its log
		select {
		case line := <-lines:
			if strings.TrimSpace(line) == "" {
				continue
			}
		case <-time.After(time.Second):
			continue
		case <-limit:
			t.Fatal("no line came")
		}
		break
	}
	resp.Body.Close()
	for range lines {
	}
}

// TestIntegrationRaftSnapshot: a snapshot is saved and restored through the proxy.
func TestIntegrationRaftSnapshot(t *testing.T) {
	v := vaulttest.Start(t, vaulttest.Durable())
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
	token := []string{"X-Vault-Token", v.RootToken}
	v.PutKV2(t, "secret/app", map[string]any{"value": "before", "bulk": strings.Repeat("x", 512<<10)})
	snapshot := r.ask(t, "GET", "/v1/sys/storage/raft/snapshot", "", token...)
	if unzip, err := gzip.NewReader(strings.NewReader(snapshot.body)); snapshot.status != 200 || err != nil {
		t.Fatalf("snapshot: %d %v", snapshot.status, err)
	} else if n, err := io.Copy(io.Discard, unzip); err != nil || n < 1000 {
		t.Fatalf("the snapshot is cut: %d bytes, %v", n, err)
	}
	v.PutKV2(t, "secret/app", map[string]any{"value": "after"})
	for range 3 {
		r.ask(t, "GET", "/v1/secret/data/app", "", token...)
	}
	restore, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/sys/storage/raft/snapshot", bytes.NewReader([]byte(snapshot.body)))
	restore.Header.Set("X-Vault-Token", v.RootToken)
	resp, err := r.client.Do(restore)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("restore: %d %s", resp.StatusCode, said)
	}
	for began := time.Now(); ; {
		if a := r.ask(t, "GET", "/v1/secret/data/app", "", token...); strings.Contains(a.body, "before") {
			break
		} else if time.Since(began) > time.Minute {
			t.Fatalf("what was cached before the restore is still served: %d %.200s", a.status, a.body)
		}
	}
}
