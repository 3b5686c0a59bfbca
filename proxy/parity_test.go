package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// What Vault's own proxy does too, and what it does not: docs/proxy-behaviour.md lists it all.

// TestFailuresOfReadsAreRepeated: two are hidden, but for no long time, and never those of
// a write, of a health check, or where num_retries says so.
func TestFailuresOfReadsAreRepeated(t *testing.T) {
	for _, tt := range []struct {
		method, path           string
		status, fails, retries int
		want, sent             int
	}{
		{"GET", "/v1/x", 500, 2, 0, 200, 3}, {"LIST", "/v1/x", 503, 2, 2, 200, 3}, {"GET", "/v1/x", 502, 1, 12, 200, 2},
		{"GET", "/v1/x", 500, 2, -1, 500, 1}, {"GET", "/v1/x", 500, 2, 1, 500, 2}, {"GET", "/v1/x", 503, 100, 12, 503, 3},
		{"PUT", "/v1/x", 500, 1, 0, 500, 1}, {"POST", "/v1/x", 503, 1, 0, 503, 1}, {"DELETE", "/v1/x", 502, 1, 0, 502, 1},
		{"GET", "/v1/sys/health", 503, 1, 0, 503, 1}, {"GET", "/v1/x", 501, 1, 0, 501, 1}, {"GET", "/v1/x", 429, 1, 0, 429, 1}, {"GET", "/v1/x", 404, 1, 0, 404, 1},
	} {
		var sent atomic.Int32
		up := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if int(sent.Add(1)) <= tt.fails {
				w.WriteHeader(tt.status)
			}
		})
		r := start(t, up, func(c *Config) { c.Retries = tt.retries })
		if a := r.ask(t, tt.method, tt.path, ""); a.status != tt.want || int(sent.Load()) != tt.sent {
			t.Errorf("%+v: answered %d after %d requests", tt, a.status, sent.Load())
		}
	}
}

// TestWhatIsNotVaultsIsNotKept: only whole JSON answers with status 200 are, whatever
// else comes passes as it is.
func TestWhatIsNotVaultsIsNotKept(t *testing.T) {
	kv := `{"mount_type":"kv","data":{"k":"v"}}`
	for _, tt := range []struct {
		name, kind, body string
		status           int
	}{
		{"HTML", "text/html", kv, 200}, {"no type", "", kv, 200}, {"not found", "application/json", `{"errors":[]}`, 404},
		{"redirect", "application/json", kv, 303}, {"accepted", "application/json", kv, 202}, {"list", "application/json", `[1]`, 200},
		{"broken", "application/json", `{"mount_type":"kv","data":`, 200}, {"nothing", "application/json", "", 200},
		{"plain", "application/json", `{"data":{"k":"v"}}`, 200}, {"warning", "application/json", `{"data":null,"warnings":["w"]}`, 200},
		{"lease of a token nobody knows", "application/json", `{"lease_id":"a/b","renewable":true,"lease_duration":60,"data":{}}`, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			up := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if asked++; tt.kind != "" {
					w.Header().Set("Content-Type", tt.kind)
				} else {
					w.Header()["Content-Type"] = nil
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
			for range 3 {
				if a := r.ask(t, "GET", "/v1/kv/x", "", "X-Vault-Token", "t"); a.status != tt.status || a.body != tt.body || a.header.Get("X-Cache") == "HIT" {
					t.Errorf("%d %s %v", a.status, a.body, a.header)
				}
			}
			if asked != 3 {
				t.Errorf("vault was asked %d times", asked)
			}
		})
	}
}

// TestCacheHeaders: X-Cache is there when there is a cache, for answers that are no
// errors; a request that says itself how fresh an answer must be goes to Vault.
func TestCacheHeaders(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.Contains(r.URL.Path, "lookup-self"):
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
		case strings.Contains(r.URL.Path, "missing"):
			w.WriteHeader(404)
		default:
			io.WriteString(w, `{"mount_type":"kv","data":{"k":"v"}}`)
		}
	})
	for _, cached := range []bool{false, true} {
		r := start(t, up, func(c *Config) {
			if cached {
				c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour}
			}
		})
		for i, tt := range []struct{ path, name, value, want string }{
			{"kv/x", "", "", "MISS"}, {"kv/x", "", "", "HIT"}, {"kv/missing", "", "", ""}, {"kv/x", "Cache-Control", "no-cache", "MISS"},
			{"kv/x", "Cache-Control", "Max-Age=0", "MISS"}, {"kv/x", "Cache-Control", "no-store", "MISS"}, {"kv/x", "Range", "bytes=0-1", "MISS"}, {"kv/x", "Origin", "http://elsewhere", "MISS"}, {"kv/x", "Authorization", "Negotiate x", "MISS"}, {"kv/x", "Authorization", "Bearer x", "HIT"}, {"kv/x", "X-Vault-Index", "i", "MISS"}, {"kv/x", "X-Vault-Inconsistent", "forward-active-node", "MISS"},
			{"kv/x", "X-Vault-Forward", "active-node", "MISS"}, {"kv/x", "X-Vault-Wrap-Ttl", "1m", "MISS"}, {"kv/x", "X-Vault-MFA", "m", "MISS"}, {"kv/x", "User-Agent", "another", "HIT"},
			{"kv/x", "Accept-Encoding", "br", "HIT"}, {"kv/x", "X-Request-Id", "7", "HIT"},
		} {
			if !cached {
				tt.want = ""
			}
			header := []string{"X-Vault-Token", "t", tt.name, tt.value}
			if tt.name == "" {
				header = header[:2]
			}
			if a := r.ask(t, "GET", "/v1/"+tt.path, "", header...); a.header.Get("X-Cache") != tt.want || (tt.want == "HIT") != (a.header.Get("Age") != "") {
				t.Errorf("cache %t, request %d with %s: X-Cache %q, Age %q, want %q", cached, i, tt.name, a.header.Get("X-Cache"), a.header.Get("Age"), tt.want)
			}
		}
		if a := r.ask(t, "GET", "/v1/kv/x", "a body", "X-Vault-Token", "t"); a.header.Get("X-Cache") == "HIT" {
			t.Errorf("a read with a body is a hit: %+v", a)
		}
	}
}

// TestTheOutcomeOfAWriteCounts: a refused one leaves what is cached, one without an answer does not.
func TestTheOutcomeOfAWriteCounts(t *testing.T) {
	var status atomic.Int64 // of writes; 0 = the connection breaks
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method != "GET" && status.Load() == 0:
			panic(http.ErrAbortHandler)
		case r.Method != "GET":
			w.WriteHeader(int(status.Load()))
		case strings.Contains(r.URL.Path, "lookup-self"):
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
		default:
			io.WriteString(w, `{"mount_type":"kv","data":{"k":"v"}}`)
		}
	})
	r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
	for code, want := range map[int64]string{403: "HIT", 404: "HIT", 204: "MISS", 500: "MISS", 0: "MISS"} {
		status.Store(code)
		for range 2 {
			r.ask(t, "GET", "/v1/kv/x", "", "X-Vault-Token", "t")
		}
		r.ask(t, "PUT", "/v1/kv/x", "{}", "X-Vault-Token", "t")
		if a := r.ask(t, "GET", "/v1/kv/x", "", "X-Vault-Token", "t"); a.header.Get("X-Cache") != want {
			t.Errorf("after a write with %d: X-Cache %q, want %q", code, a.header.Get("X-Cache"), want)
		}
	}
}

// TestTheEnvironmentChangesNoRequest: Vault's client reads variables of its own, which
// would wrap or move the requests of others.
func TestTheEnvironmentChangesNoRequest(t *testing.T) {
	t.Setenv("VAULT_WRAP_TTL", "5m")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	t.Setenv("VAULT_TOKEN", "ours")
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["X-Vault-Wrap-Ttl"], r.Header["X-Vault-Namespace"], r.Header["X-Vault-Token"])
	})
	if a := start(t, up, nil).ask(t, "GET", "/v1/x", ""); a.body != "[] [] []" {
		t.Errorf("vault saw %s", a.body)
	}
}

// TestWrappingKeepsItsTime: through Vault's own proxy sys/wrapping/wrap always takes 5m.
func TestWrappingKeepsItsTime(t *testing.T) {
	v := vaulttest.Start(t)
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Minute} })
	for _, path := range []string{"PUT /v1/sys/wrapping/wrap", "POST /v1/sys/wrapping/wrap", "GET /v1/sys/mounts"} {
		method, path, _ := strings.Cut(path, " ")
		if a := r.ask(t, method, path, `{"a":"b"}`, "X-Vault-Token", v.RootToken, "X-Vault-Wrap-TTL", "123"); !strings.Contains(a.body, `"ttl":123,`) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// TestConcurrentCallersGetTheirOwn: a hundred at once, each with a secret of its own and
// the same path of another token's.
func TestConcurrentCallersGetTheirOwn(t *testing.T) {
	v := vaulttest.Start(t)
	r := start(t, v.Addr, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Minute} })
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			path := fmt.Sprintf("/v1/kv1/%d", i)
			for round := range 3 {
				value := fmt.Sprintf("value-%d-%d-", i, round)
				if a := r.ask(t, "PUT", path, `{"k":"`+value+`"}`, "X-Vault-Token", v.RootToken); a.status != 204 {
					t.Errorf("write: %d %s", a.status, a.body)
				}
				for range 3 {
					if a := r.ask(t, "GET", path, "", "X-Vault-Token", v.RootToken); !strings.Contains(a.body, value) {
						t.Errorf("%d reads %s", i, a.body)
					}
				}
			}
		})
	}
	all.Wait()
}

// TestNobodyWaitsForAStranger: a login, a write and a read by others at the same path do
// not stand behind one that hangs.
func TestNobodyWaitsForAStranger(t *testing.T) {
	hang, came := make(chan struct{}), make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Slow") != "" {
			came <- struct{}{}
			<-hang
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"mount_type":"kv","data":{"k":"v"}}`)
	})
	r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour, ShareLogins: true} })
	var all sync.WaitGroup
	for _, slow := range [][4]string{
		{"POST", "auth/approle/login", "slow", ""}, {"PUT", "kv/x", "slow", "t"}, {"GET", "kv/y", "", "t"},
	} {
		all.Go(func() { r.ask(t, slow[0], "/v1/"+slow[1], slow[2], "X-Slow", "1", "X-Vault-Token", slow[3]) })
		<-came
	}
	for _, quick := range [][4]string{
		{"POST", "auth/approle/login", "quick", ""}, {"PUT", "kv/x", "quick", "u"}, {"GET", "kv/x", "", "u"}, {"GET", "kv/x", "", "t"}, {"GET", "kv/y", "", "u"},
	} {
		if a := r.ask(t, quick[0], "/v1/"+quick[1], quick[2], "X-Vault-Token", quick[3]); a.status != 200 {
			t.Errorf("%v: %d", quick, a.status)
		}
	}
	close(hang)
	all.Wait()
}

// TestOurOwnRequestsSayWhoseTheyAre: look-ups and re-reads of the cache.
func TestOurOwnRequestsSayWhoseTheyAre(t *testing.T) {
	var mu sync.Mutex
	agents := map[string]string{}
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		agents[r.URL.Path] = r.UserAgent() + r.Header.Get("X-Vault-Request")
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "lookup-self") {
			io.WriteString(w, `{"data":{"num_uses":0,"ttl":0,"orphan":true}}`)
			return
		}
		io.WriteString(w, `{"mount_type":"kv","data":{"k":"v"}}`)
	})
	r := start(t, up, func(c *Config) { c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour} })
	for range 3 {
		r.ask(t, "GET", "/v1/kv/x", "", "X-Vault-Token", "t", "User-Agent", "client/1")
	}
	mu.Lock()
	defer mu.Unlock()
	if agents["/v1/auth/token/lookup-self"] != "envexec/testtrue" || agents["/v1/kv/x"] != "envexec/test; client/1" {
		t.Errorf("vault saw %q", agents)
	}
}
