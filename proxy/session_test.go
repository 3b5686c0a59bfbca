package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestOurTokenIsNotTold: whatever is asked about the session's token, neither it nor
// its accessor comes back.
func TestOurTokenIsNotTold(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "renew") {
			io.WriteString(w, `{"auth":{"client_token":"session","accessor":"acc","policies":["p"],"lease_duration":3600},"data":null}`)
			return
		}
		io.WriteString(w, `{"data":{"id":"session","accessor":"acc","ttl":3600},"auth":null}`)
	})
	r := start(t, up, func(c *Config) { c.AutoAuth, c.Lend = true, LendMissing })
	r.login("old", 1)
	r.login("session", 2)
	for _, tt := range []struct {
		method, path, body, token string
		told                      bool
	}{
		{"GET", "auth/token/lookup-self", "", "", false}, {"GET", "auth/token/lookup-self", "", "session", false},
		{"POST", "auth/token/renew-self", "{}", "", false}, {"POST", "auth/token/lookup", "", "", false},
		{"POST", "auth/token/lookup", `{"token":""}`, "session", false}, {"POST", "auth/token/lookup", `{"token":"session"}`, "admin", false},
		{"POST", "auth/token/lookup", `{"token":"old"}`, "admin", false}, {"PUT", "auth/token/renew", `{"token":"session"}`, "admin", false},
		{"POST", "auth/token/lookup", `token=session`, "admin", false}, {"GET", "auth/token/lookup?token=session", "", "admin", false},
		{"GET", "ns1/auth/token/lookup-self", "", "", false}, {"GET", "auth/token/lookup-self/", "", "", false},
		{"GET", "auth/token/lookup-self", "", "mine", true}, {"POST", "auth/token/lookup", `{"token":"mine"}`, "", true},
		{"GET", "secret/data/x", "", "", true},
		// Vault reads one token, or none; what else the request names does not count.
		{"POST", "auth/token/lookup?token=mine", "{}", "", false}, {"POST", "auth/token/lookup?token=mine", "", "", false},
		{"POST", "auth/token/lookup", `{"x":"&token=mine&"}`, "", false}, {"POST", "auth/token/lookup", `{"x":1}&token=mine`, "", false},
		{"POST", "auth/token/lookup", `token=mine`, "", false}, {"GET", "auth/token/lookup?token=mine", "{}", "", false},
		{"GET", "auth/token/lookup?token=mine", "", "", true}, {"FORM", "auth/token/lookup", `token=mine`, "", true},
		{"FORM", "auth/token/lookup", `{"token":"mine"}`, "", true}, {"FORM", "auth/token/lookup", `{"x":"&token=mine&"}`, "", false},
		{"FORM", "auth/token/lookup", strings.Repeat(" ", 600) + `{"token":"mine"}`, "", false}, {"FORM", "auth/token/lookup?token=mine", "", "", false},
	} {
		var header []string
		if tt.method == "FORM" {
			tt.method, header = "POST", []string{"Content-Type", "application/x-www-form-urlencoded"}
		}
		if tt.token != "" {
			header = append(header, "X-Vault-Token", tt.token)
		}
		a := r.ask(t, tt.method, "/v1/"+tt.path, tt.body, header...)
		if told := strings.Contains(a.body, `"session"`) || strings.Contains(a.body, `"acc"`); told != tt.told || a.status != 200 {
			t.Errorf("%s %s %s as %q: %d %s", tt.method, tt.path, tt.body, tt.token, a.status, a.body)
		}
		if !strings.Contains(a.body, "3600") {
			t.Errorf("the rest of the answer is lost: %s", a.body)
		}
	}
	if a := r.ask(t, "POST", "/v1/auth/token/lookup", `{"token":`, "X-Vault-Token", "mine"); a.status != 200 {
		t.Errorf("a body that is no JSON: %d", a.status)
	}
	if a := r.ask(t, "GET", "/v1/auth/token/lookup-self", "", "X-Vault-Wrap-TTL", "5m"); a.status != 403 {
		t.Errorf("a wrapped look-up: %d", a.status)
	}
	if a := r.ask(t, "POST", "/v1/auth/token/lookup", `{"x":"&token=mine&"}`, "X-Vault-Wrap-TTL", "5m"); a.status != 403 {
		t.Errorf("a wrapped look-up that hides what it asks for: %d", a.status)
	}
	if a := r.ask(t, "POST", "/v1/auth/token/lookup", `{"token":"session"`+strings.Repeat(" ", maxReplay)+"}", "X-Vault-Token", "x"); a.status != 413 {
		t.Errorf("a padded look-up: %d", a.status)
	}
}

func TestNamespaces(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header["X-Vault-Namespace"]) })
	for _, tt := range []struct{ fixed, prepend, asked, want string }{
		{"", "", "", "[]"}, {"", "", "a/", "[a/]"}, {"fix/", "", "", "[fix]"}, {"fix", "", "a", "[fix]"},
		{"", "pre/", "", "[pre]"}, {"", "pre", "a/b/", "[pre/a/b]"},
	} {
		r := start(t, up, func(c *Config) { c.Listeners[0].Namespace, c.PrependNamespace = tt.fixed, tt.prepend })
		var header []string
		if tt.asked != "" {
			header = []string{"X-Vault-Namespace", tt.asked}
		}
		if a := r.ask(t, "GET", "/v1/x", "", header...); a.body != tt.want {
			t.Errorf("%+v: vault saw %s", tt, a.body)
		}
	}
}

func TestConsistency(t *testing.T) {
	one, two, both := index("c", 1, 5), index("c", 5, 1), index("c", 6, 6)
	other := index("d", 1, 1)
	for _, tt := range []struct {
		said []string
		want []string
	}{
		{[]string{one}, []string{one}}, {[]string{one, two}, []string{one, two}}, {[]string{one, two, both}, []string{both}},
		{[]string{both, one}, []string{both}}, {[]string{one, other}, []string{other}}, {[]string{one, "rubbish"}, []string{"rubbish"}},
		{[]string{"rubbish", one}, []string{one}}, {[]string{one, one}, []string{one}},
	} {
		var seen []string
		var forward string
		next := ""
		up := serve(t, func(w http.ResponseWriter, r *http.Request) {
			seen, forward = r.Header["X-Vault-Index"], r.Header.Get("X-Vault-Inconsistent")
			if next != "" {
				w.Header().Set("X-Vault-Index", next)
			}
		})
		r := start(t, up, func(c *Config) { c.Inconsistent = Forward })
		for _, next = range tt.said {
			r.ask(t, "PUT", "/v1/x", "")
		}
		next = ""
		r.ask(t, "GET", "/v1/x", "")
		if fmt.Sprint(seen) != fmt.Sprint(tt.want) || forward != "forward-active-node" {
			t.Errorf("after %q the request carried %q, %q", tt.said, seen, forward)
		}
		r.ask(t, "GET", "/v1/x", "", "X-Vault-Index", "mine")
		if fmt.Sprint(seen) != "[mine]" || forward != "" {
			t.Errorf("a request that says it itself carried %q, %q", seen, forward)
		}
	}
}

func TestRetryOfWhatAStandbyHasNotSeen(t *testing.T) {
	for mode, want := range map[Inconsistent]int{Fail: 412, Retry: 200} {
		left := 2
		r := start(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if left--; left >= 0 {
				w.WriteHeader(412)
			}
		}), func(c *Config) { c.Inconsistent = mode })
		if a := r.ask(t, "PUT", "/v1/x", "body"); a.status != want {
			t.Errorf("mode %d: %d, want %d", mode, a.status, want)
		}
	}
}

func FuzzRequestLine(f *testing.F) {
	for _, seed := range []string{"/v1/secret/data/a", "/v1/a%2Fb?x=1", "//", "/v1/../sys", "*", "/v1/%zz", "http://x/v1/y"} {
		f.Add("GET", seed, "X-Vault-Token: a\r\n")
	}
	child := &Child{Token: NewChildToken(), Paths: []string{"allowed/"}}
	f.Fuzz(func(t *testing.T, method, path, header string) {
		raw := method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + header + "\r\n"
		r, err := http.ReadRequest(newReader(raw))
		if err != nil || r.URL.Path == "" {
			return
		}
		if child.allows(r, "") == nil && !strings.HasPrefix(r.URL.Path, "/v1/allowed") && !strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/") &&
			!strings.HasSuffix(r.URL.Path, "-self") {
			t.Errorf("the child may use %q", path)
		}
		c := &call{path: r.URL.Path, query: r.URL.RawQuery, ns: "n"}
		c.describe(r)
		_ = callerToken(r.Header)
		ownPath(r.URL.Path)
	})
}

// FuzzBodies: whatever a client asks and Vault answers, an answer that passed strip
// tells no id and no accessor.
func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"token":"session"}`), []byte(`{"data":{"id":"session","accessor":"acc"}}`))
	f.Add([]byte(`token=session`), []byte(`{"auth":{"client_token":"session","accessor":"acc"},"data":null}`))
	f.Add([]byte(`{"token":1}`), []byte(`{"data":[],"auth":{}}`))
	f.Add([]byte(`{"token":"a","token":"session"}`), []byte(`{"data":{"id":"a","id":"session"},"data":{"accessor":"b"}}`))
	f.Fuzz(func(t *testing.T, asked, answer []byte) {
		_ = readToken(&call{body: asked, query: string(asked)})
		out, err := withoutToken(answer)
		if err != nil {
			return
		}
		var told map[string]json.RawMessage
		if err := json.Unmarshal(out, &told); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		var data, auth map[string]json.RawMessage
		_ = json.Unmarshal(told["data"], &data)
		_ = json.Unmarshal(told["auth"], &auth)
		for _, name := range []string{"id", "accessor"} {
			if _, has := data[name]; has {
				t.Errorf("%s of the data is told: %s", name, out)
			}
		}
		for _, name := range []string{"client_token", "accessor"} {
			if v, has := auth[name]; has && string(v) != `""` {
				t.Errorf("%s is told: %s", name, out)
			}
		}
	})
}
