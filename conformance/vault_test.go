//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// scripted is a stand-in for Vault that answers the few requests a test of supervision makes: a token that never ends
// and one KV version 2 secret whose values the test sets. Races need its speed; the real one is used elsewhere.
type scripted struct {
	addr   string
	served atomic.Int64 // requests of every kind
	looked atomic.Int64 // reads of the secret

	mu       sync.Mutex
	version  int
	values   map[string]string
	override func(http.ResponseWriter, *http.Request) bool
}

func newVault(t testing.TB) *scripted {
	t.Helper()
	v := &scripted{version: 1, values: map[string]string{"value": "1"}}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	v.addr = server.URL
	return v
}

// env makes a process use this Vault with a given token.
func (v *scripted) env() []string { return []string{"VAULT_ADDR=" + v.addr, "VAULT_TOKEN=conformance"} }

// set writes a new version of the secret.
func (v *scripted) set(value any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.version++
	v.values["value"] = fmt.Sprint(value)
}

// handle puts a function before the scripted answers; it reports whether it has answered.
func (v *scripted) handle(f func(http.ResponseWriter, *http.Request) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.override = f
}

// reads counts the reads of the secret so far.
func (v *scripted) reads() int { return int(v.looked.Load()) }

// requests counts what was asked so far.
func (v *scripted) requests() int { return int(v.served.Load()) }

func (v *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.served.Add(1)
	v.mu.Lock()
	override := v.override
	v.mu.Unlock()
	if override != nil && override(w, r) {
		return
	}
	var data any
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
	case strings.HasPrefix(path, "secret/data/"):
		v.looked.Add(1)
		v.mu.Lock()
		values := map[string]string{}
		for key, value := range v.values {
			values[key] = value
		}
		data = map[string]any{"data": values, "metadata": map[string]any{
			"version": v.version, "created_time": "2024-01-01T00:00:00Z", "deletion_time": "", "destroyed": false,
			"custom_metadata": nil,
		}}
		v.mu.Unlock()
	case path == "auth/token/lookup-self":
		data = map[string]any{
			"id": "conformance", "accessor": "a", "ttl": 0, "creation_ttl": 0, "type": "service",
			"policies": []string{"root"}, "renewable": false, "num_uses": 0, "display_name": "token",
		}
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		data = map[string]any{"path": "secret/", "type": "kv", "options": map[string]string{"version": "2"}}
	default:
		http.Error(w, `{"errors":[]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data,
	})
}
