package shared

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vault is a small model of Vault: tokens with rights, KV version 2 and 1, leases.
type vault struct {
	mu     sync.Mutex
	tokens map[string]*vaultToken
	kv     map[string]string // full path → value; data paths are version 2
	trash  map[string]string // what was deleted of version 2
	leases map[string]*vaultLease
	count  int
	asked  []string // method and path of each request
	down   int      // status of every answer; 0 = works
	hold   func(r *http.Request)
	late   func()
	// permitted is told of each right that a policy gives ("may") or takes ("").
	permitted func(who, path, state string)
	// undeleted is told of each secret that comes back.
	undeleted func(path, value string)
	maxTTL    time.Duration
}

type vaultToken struct {
	parent  string
	denied  map[string]bool // paths
	uses    int             // 0 = no limit
	cidrs   []string
	end     time.Time // zero = none
	noSelf  bool      // may not look itself up
	lookUp  int       // status of look-ups; 0 = they work
	created time.Time
}

type vaultLease struct {
	token string
	end   time.Time
	made  time.Time
}

func newVault() *vault {
	return &vault{tokens: map[string]*vaultToken{}, kv: map[string]string{}, trash: map[string]string{}, leases: map[string]*vaultLease{}, maxTTL: 24 * time.Hour}
}

// login makes a token.
func (v *vault) login(id string, change ...func(*vaultToken)) string {
	t := &vaultToken{denied: map[string]bool{}, created: time.Now()}
	for _, c := range change {
		c(t)
	}
	v.tokens[id] = t
	return id
}

// now changes or reads the model while others ask it.
func (v *vault) now(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *vault) revoke(id string) {
	delete(v.tokens, id)
	for l, lease := range v.leases {
		if lease.token == id {
			delete(v.leases, l)
		}
	}
	for child, t := range v.tokens {
		if t.parent == id {
			v.revoke(child)
		}
	}
}

// do answers a request.
func (v *vault) do(r *http.Request) (*http.Response, error) {
	if v.hold != nil {
		v.hold(r)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	v.mu.Lock()
	v.asked = append(v.asked, r.Method+" "+r.URL.Path)
	v.count++
	v.handle(w, r)
	v.mu.Unlock()
	if v.late != nil {
		v.late() // the answer takes its time
	}
	return w.Result(), nil
}

func (v *vault) handle(w http.ResponseWriter, r *http.Request) {
	if v.down != 0 {
		w.WriteHeader(v.down)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	id := r.Header.Get("X-Vault-Token")
	if strings.Contains(path, "/login") {
		child := v.login(fmt.Sprintf("login-%d", v.count), func(t *vaultToken) { t.end = time.Now().Add(time.Hour) })
		v.sayAuth(w, child, time.Hour, false) // older servers do not say that it has no parent
		return
	}
	t := v.tokens[id]
	if t == nil || !t.end.IsZero() && !time.Now().Before(t.end) {
		deny(w, "permission denied\\ninvalid token")
		return
	}
	if t.uses > 0 {
		if t.uses--; t.uses == 0 {
			delete(v.tokens, id)
		}
	}
	if t.denied[path] {
		deny(w, "permission denied")
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	text := func(k string) string { s, _ := body[k].(string); return s }
	switch {
	case path == "auth/token/lookup-self":
		if t.lookUp != 0 {
			w.WriteHeader(t.lookUp)
			return
		}
		if t.noSelf {
			deny(w, "permission denied")
			return
		}
		ttl, expires := 0, any(nil)
		if !t.end.IsZero() {
			expires = t.end
			ttl = int(time.Until(t.end).Round(time.Second) / time.Second)
		}
		say(w, map[string]any{"data": map[string]any{"num_uses": t.uses, "bound_cidrs": t.cidrs, "ttl": ttl, "expire_time": expires, "orphan": t.parent == "", "accessor": "acc-" + id}})
	case path == "auth/token/create", path == "auth/token/create-orphan":
		child := v.login(fmt.Sprintf("child-%d", v.count), func(n *vaultToken) {
			if path == "auth/token/create" {
				n.parent = id
			}
			n.end = time.Now().Add(time.Hour)
		})
		v.sayAuth(w, child, time.Hour, path != "auth/token/create")
	case path == "auth/token/revoke-self":
		v.revoke(id)
		w.WriteHeader(204)
	case path == "auth/token/revoke":
		v.revoke(text("token"))
		w.WriteHeader(204)
	case path == "auth/token/revoke-accessor":
		v.revoke(strings.TrimPrefix(text("accessor"), "acc-"))
		w.WriteHeader(204)
	case path == "auth/token/revoke-orphan":
		gone := text("token")
		for _, child := range v.tokens {
			if child.parent == gone {
				child.parent = ""
			}
		}
		v.revoke(gone)
		w.WriteHeader(204)
	case path == "auth/token/renew-self":
		end := time.Now().Add(time.Hour)
		if last := t.created.Add(v.maxTTL); end.After(last) {
			end = last
		}
		t.end = end
		v.sayAuth(w, id, time.Until(end), false)
	case path == "sys/leases/renew":
		l := v.leases[text("lease_id")]
		if l == nil || !time.Now().Before(l.end) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"errors":["lease not found"]}`)
			return
		}
		l.end = time.Now().Add(time.Hour)
		if last := l.made.Add(v.maxTTL); l.end.After(last) {
			l.end = last
		}
		say(w, map[string]any{"lease_id": text("lease_id"), "renewable": true, "lease_duration": int(time.Until(l.end) / time.Second)})
	case strings.HasPrefix(path, "sys/leases/revoke"):
		_, rest, _ := strings.Cut(strings.TrimPrefix(path, "sys/leases/"), "/")
		if rest == "" {
			rest = text("lease_id")
		}
		prefix := !strings.HasPrefix(path, "sys/leases/revoke/") && path != "sys/leases/revoke"
		maps.DeleteFunc(v.leases, func(l string, _ *vaultLease) bool { return l == rest || prefix && strings.HasPrefix(l, rest) })
		w.WriteHeader(204)
	case strings.Contains(path, "db/creds/"):
		lease := fmt.Sprintf("%s/%d", path, v.count)
		v.leases[lease] = &vaultLease{token: id, end: time.Now().Add(time.Hour), made: time.Now()}
		say(w, map[string]any{"lease_id": lease, "renewable": true, "lease_duration": 3600, "data": map[string]any{"lease_duration": 1, "user": lease}})
	case strings.Contains(path, "cubbyhole/data/"): // each token's own
		say(w, map[string]any{"data": map[string]any{"data": map[string]any{"value": id}, "metadata": map[string]any{"version": 1, "created_time": "t"}}})
	case strings.HasPrefix(path, "secret/data/"), strings.HasPrefix(path, "kv1/"):
		v.secret(w, r, path, text("value"))
	case strings.HasPrefix(path, "secret/"): // metadata, delete, destroy …
		word, rest, _ := strings.Cut(strings.TrimPrefix(path, "secret/"), "/")
		if r.Method == "GET" {
			say(w, map[string]any{"mount_type": "kv", "data": map[string]any{"versions": 1, "current_version": 1}})
			return
		}
		key := "secret/data/" + rest
		if old, deleted := v.trash[key]; word == "undelete" {
			if _, there := v.kv[key]; deleted && !there {
				v.kv[key] = old
				if v.undeleted != nil {
					v.undeleted(key, old)
				}
			}
		} else {
			delete(v.kv, key)
			delete(v.trash, key)
		}
		w.WriteHeader(204)
	case path == "sys/mounts/kv1":
		maps.DeleteFunc(v.kv, func(path, _ string) bool { return strings.HasPrefix(path, "kv1/") })
		w.WriteHeader(204)
	case path == "sys/policies/acl/p":
		if t := v.tokens[text("who")]; t != nil {
			t.denied[text("path")] = body["may"] != true
			if v.permitted != nil {
				v.permitted(text("who"), text("path"), map[bool]string{true: "may"}[body["may"] == true])
			}
		}
		w.WriteHeader(204)
	default:
		w.WriteHeader(204)
	}
}

func (v *vault) secret(w http.ResponseWriter, r *http.Request, path, value string) {
	switch r.Method {
	case "GET":
		held, ok := v.kv[path]
		if !ok {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errors":[]}`)
			return
		}
		var data any = map[string]any{"value": held}
		if strings.HasPrefix(path, "secret/") {
			data = map[string]any{"data": data, "metadata": map[string]any{"version": 1, "created_time": "t"}}
		}
		say(w, map[string]any{"mount_type": "kv", "data": data, "lease_duration": 0})
	case "DELETE":
		if old, there := v.kv[path]; there {
			v.trash[path] = old
		}
		delete(v.kv, path)
		w.WriteHeader(204)
	default:
		v.kv[path] = value
		w.WriteHeader(204)
	}
}

func (v *vault) sayAuth(w http.ResponseWriter, id string, ttl time.Duration, orphan bool) {
	say(w, map[string]any{"lease_duration": 0, "auth": map[string]any{"client_token": id, "accessor": "acc-" + id, "lease_duration": int(ttl / time.Second), "renewable": true, "orphan": orphan, "num_uses": 0}})
}

func say(w http.ResponseWriter, answer map[string]any) { _ = json.NewEncoder(w).Encode(answer) }

func deny(w http.ResponseWriter, text string) {
	w.WriteHeader(403)
	fmt.Fprintf(w, `{"errors":["%s"]}`, text)
}

// rig is a Cache before the model.
type rig struct {
	*Cache
	v *vault
	t *testing.T
}

// in runs f in a bubble with a running Cache.
func in(t *testing.T, edit func(*Config), f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		live(t, v, edit, f)
	})
}

// live is one life of a Cache before v.
func live(t *testing.T, v *vault, edit func(*Config), f func(*rig)) {
	t.Helper()
	began := time.Now()
	cfg := Config{
		Do: v.do, Leases: true, Static: true, MaxAge: 10 * time.Second, MaxAgeOffline: time.Minute,
		clock: func() time.Duration { return time.Since(began) + time.Second }, random: func() float64 { return 0.5 },
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = c.Run(ctx); close(done) }()
	synctest.Wait()
	f(&rig{c, v, t})
	c.consistent(t)
	cancel()
	<-done
}

// got is what a caller got.
type got struct {
	status int
	hit    bool
	body   string
	age    string
}

// ask is the road of a request through a listener.
func (r *rig) ask(token, method, path string, body ...string) got {
	req := Request{Method: method, Path: "/v1/" + path, Token: token}
	req.Path, req.Query, _ = strings.Cut(req.Path, "?")
	req.RawPath = req.Path
	if len(body) > 0 {
		req.Body = []byte(body[0])
	}
	return r.send(&req)
}

func (r *rig) send(req *Request) got {
	w := httptest.NewRecorder()
	if r.Serve(w, req) {
		return result(w, true)
	}
	change := r.Change(req)
	defer change.End(0, nil)
	served, flight := r.Enter(r.t.Context(), w, req)
	if served {
		return result(w, true)
	}
	defer flight.Close()
	out, _ := http.NewRequest(req.Method, req.RawPath+"?"+req.Query, strings.NewReader(string(req.Body)))
	out.Header.Set("X-Vault-Token", req.Token)
	resp, err := r.v.do(out)
	if err != nil {
		r.t.Fatal(err)
	}
	all, _ := io.ReadAll(resp.Body)
	change.End(resp.StatusCode, all)
	if resp.StatusCode >= 500 {
		if a := flight.Stale(); a != nil {
			flight.Write(w, a)
			return result(w, true)
		}
	}
	if flight.Wants(resp.StatusCode, resp.Header) {
		flight.Store(resp.Header, all)
	}
	return got{status: resp.StatusCode, body: string(all)}
}

func result(w *httptest.ResponseRecorder, hit bool) got {
	return got{w.Code, hit, w.Body.String(), w.Header().Get("Age")}
}

// requests counts what reached Vault with this method and path.
func (r *rig) requests(what string) int {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	n := 0
	for _, a := range r.v.asked {
		if a == what {
			n++
		}
	}
	return n
}

type request = http.Request

// discardWriter is a client that does not read.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return http.Header{} }
func (discardWriter) Write(b []byte) (int, error) { return len(b), nil }
func (discardWriter) WriteHeader(int)             {}
