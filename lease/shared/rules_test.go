package shared

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/internal/events"
	"github.com/envexec/envexec/secret"
)

const lookUps = "GET /v1/auth/token/lookup-self"

var asJSON = http.Header{"Content-Type": {"application/json"}}

// TestWhatIsAnswered says of each kind of request what may become of its answer.
func TestWhatIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		method, path, token, body string
		want                      class
	}{
		{"GET", "/v1/secret/data/app", "t", "", reading}, {"GET", "/v1/ns1/secret/x", "t", "", reading},
		{"GET", "/v1/secret/data/app", "", "", opaque}, {"GET", "/v1/secret/data/app", "t", "{}", opaque}, {"GET", "/live", "t", "", opaque},
		{"GET", "/v1/sys/mounts", "t", "", opaque}, {"GET", "/v1/auth/approle/role", "t", "", opaque}, {"GET", "/v1/identity/entity", "t", "", opaque},
		{"GET", "/v1/cubbyhole/x", "t", "", opaque}, {"GET", "/v1/ns1/cubbyhole/x", "t", "", opaque}, {"GET", "/v1/a//b", "t", "", opaque},
		{"GET", "/v1/a/./b", "t", "", opaque}, {"GET", "/v1/a/../b", "t", "", opaque}, {"GET", "/v1/a/", "t", "", opaque},
		{"POST", "/v1/auth/token/create", "t", "", creating}, {"PUT", "/v1/auth/token/create-orphan", "t", "", creating}, {"POST", "/v1/auth/token/create/role", "t", "", creating},
		{"POST", "/v1/ns1/auth/token/create", "t", "", creating}, {"POST", "/v1/auth/token/create", "", "", opaque}, {"POST", "/v1/auth/token/renew-self", "t", "", opaque},
		{"POST", "/v1/auth/approle/login", "", "", login}, {"PUT", "/v1/auth/userpass/login/u", "", "", login}, {"POST", "/v1/auth/approle/role/x", "t", "", opaque},
		{"HEAD", "/v1/secret/data/app", "t", "", opaque}, {"POST", "/v1/db/creds/x", "t", "", opaque}, {"PATCH", "/v1/auth/x/login", "", "", opaque},
	} {
		if got := classify(&Request{Method: tt.method, Path: tt.path, Token: tt.token, Body: []byte(tt.body)}); got != tt.want {
			t.Errorf("%s %s of %q: %d, want %d", tt.method, tt.path, tt.token, got, tt.want)
		}
	}
}

// TestEachPartOfARequestMakesAnotherKey.
func TestEachPartOfARequestMakesAnotherKey(t *testing.T) {
	r := Request{Method: "PUT", RawPath: "/v1/a", Token: "t", Query: "q", Namespace: "n", ContentType: "c", Body: []byte("b")}
	seen := map[string]string{string(r.appendKey(nil)): ""}
	for name, change := range map[string]func(r *Request){
		"method": func(r *Request) { r.Method = "POST" }, "path": func(r *Request) { r.RawPath = "/v1/b" }, "token": func(r *Request) { r.Token = "u" },
		"query": func(r *Request) { r.Query = "" }, "namespace": func(r *Request) { r.Namespace = "" }, "kind": func(r *Request) { r.ContentType = "" }, "body": func(r *Request) { r.Body = nil },
	} {
		other := r
		change(&other)
		if same, has := seen[string(other.appendKey(nil))]; has {
			t.Errorf("another %s is the key of %q", name, same)
		}
		seen[string(other.appendKey(nil))] = name
	}
}

// store hands an answer to the flight of a request.
func (r *rig) store(req *Request, status int, h http.Header, body string) {
	r.t.Helper()
	_, f := r.Enter(r.t.Context(), discardWriter{}, req)
	if f == nil {
		r.t.Fatal("no flight")
	}
	if f.Wants(status, h) {
		f.Store(h, []byte(body))
	}
}

func sessionRead(path string) *Request {
	return &Request{Method: "GET", Path: "/v1/" + path, RawPath: "/v1/" + path, Token: "root", Session: &secret.Token{Own: true}}
}

// TestAnswersThatAreNotKept: each differs in one thing from one that is.
func TestAnswersThatAreNotKept(t *testing.T) {
	const lease, kv1, kv2, auth = `{"lease_id":"l","renewable":true,"lease_duration":60}`, `{"mount_type":"kv","renewable":true,"data":{"k":"v"}}`,
		`{"data":{"data":{"k":"v"},"metadata":{"version":1,"created_time":"t"}}}`, `{"auth":{"client_token":"made","renewable":true,"lease_duration":60}}`
	create := func() *Request {
		c := sessionRead("auth/token/create")
		c.Method = "PUT"
		return c
	}
	header := func(name, value string) http.Header {
		h := asJSON.Clone()
		h.Set(name, value)
		return h
	}
	for i, tt := range []struct {
		req    *Request
		status int
		header http.Header
		body   string
		hit    bool
	}{
		{sessionRead("db/x"), 200, asJSON, lease, true}, {sessionRead("db/x"), 200, asJSON, kv1, true}, {sessionRead("db/data/x"), 200, asJSON, kv2, true}, {create(), 200, asJSON, auth, true},
		{sessionRead("db/x"), 201, asJSON, lease, false}, {sessionRead("db/x"), 200, header("Content-Encoding", "gzip"), lease, false},
		{sessionRead("db/x"), 200, header("Trailer", "X"), lease, false}, {sessionRead("db/x"), 200, header("Content-Type", "text/plain"), lease, false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(lease, "true", "false", 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(lease, "60", "0", 1), false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(lease, `"l"`, `""`, 1), false}, {sessionRead("db/x"), 200, asJSON, lease[:9], false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(lease, "60", "-1", 1), false}, {sessionRead("db/x"), 200, asJSON, auth, false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, "{", `{"wrap_info":{"token":"w"},`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, "{", `{"wrap_info":null,`, 1), true},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, "{", `{"lease_id":"l",`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, "{", `{"auth":{},`, 1), false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `"kv"`, `"pki"`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `"kv"`, `""`, 1), false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `null`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `{"keys":["a"]}`, 1), false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `{"versions":{},"current_version":1}`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `{"metadata":{},"subkeys":{}}`, 1), false},
		{sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `{"cas_required":true,"max_versions":0}`, 1), false}, {sessionRead("db/x"), 200, asJSON, strings.Replace(kv1, `{"k":"v"}`, `{"data":{},"metadata":{}}`, 1), false},
		{sessionRead("db/x"), 200, asJSON, kv2, false}, {sessionRead("db/data/x"), 200, asJSON, strings.Replace(kv2, `{"k":"v"}`, "null", 1), false},
		{sessionRead("db/data/x"), 200, asJSON, strings.Replace(kv2, `"version":1,`, "", 1), false}, {sessionRead("db/data/x"), 200, asJSON, strings.Replace(kv2, `,"created_time":"t"`, "", 1), false},
		{sessionRead("db/data/x"), 200, asJSON, strings.Replace(kv2, `"metadata"`, `"x":1,"metadata"`, 1), false},
		{create(), 200, asJSON, strings.Replace(auth, `"made"`, `""`, 1), false}, {create(), 200, asJSON, strings.Replace(auth, "true", "false", 1), false}, {create(), 200, asJSON, strings.Replace(auth, "60", "0", 1), false},
		{create(), 200, asJSON, strings.Replace(auth, "60", `60,"num_uses":3`, 1), false}, {create(), 200, asJSON, lease, false},
	} {
		in(t, nil, func(r *rig) {
			r.v.login("root")
			r.store(tt.req, tt.status, tt.header, tt.body)
			if hit := r.Serve(discardWriter{}, tt.req); hit != tt.hit {
				t.Errorf("answer %d, %d %v %s: hit %t", i, tt.status, tt.header, tt.body, hit)
			}
			query := *tt.req
			query.Query = "a=b"
			if r.store(&query, 200, asJSON, kv1); r.Serve(discardWriter{}, &query) {
				t.Error("an answer to a query is served")
			}
		})
	}
}

// TestWhatIsSwitchedOffIsNotKept, and asks Vault nothing.
func TestWhatIsSwitchedOffIsNotKept(t *testing.T) {
	in(t, func(c *Config) { c.Leases = false }, func(r *rig) {
		r.v.login("root")
		for _, what := range []string{"GET db/creds/x", "PUT auth/token/create", "PUT auth/approle/login"} {
			method, path, _ := strings.Cut(what, " ")
			r.session("root", method, path)
			if g := r.session("root", method, path); g.hit {
				t.Errorf("%s: %+v", what, g)
			}
		}
		if n := r.Stats().Entries; n != 0 {
			t.Errorf("%d entries", n)
		}
	})
	in(t, func(c *Config) { c.Static = false }, func(r *rig) {
		r.v.login("root")
		r.v.kv[app] = "v"
		for range 3 {
			if g := r.session("root", "GET", app); g.hit {
				t.Errorf("a secret: %+v", g)
			}
		}
		if n := r.requests(lookUps); n != 0 {
			t.Errorf("%d look-ups", n)
		}
	})
}

// TestALimitedSessionSharesNothing: every answer would have taken one of its uses.
func TestALimitedSessionSharesNothing(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root", func(t *vaultToken) { t.uses = 100 })
		req := sessionRead("db/creds/x")
		req.Session = &secret.Token{NumUses: 100}
		for range 3 {
			if g := r.send(req); g.hit {
				t.Errorf("got %+v", g)
			}
		}
		if n := r.requests(lookUps); n != 0 {
			t.Errorf("%d look-ups took a use each", n)
		}
	})
}

// together makes n equal requests at once and says how many reached Vault and how long all took.
func (r *rig) together(n int, what string, ask func() got) (reached int, took time.Duration) {
	r.v.hold = func(*http.Request) { time.Sleep(time.Second) }
	defer func() { r.v.hold = nil }()
	before, began := r.requests(what), time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { ask() })
	}
	all.Wait()
	return r.requests(what) - before, time.Since(began)
}

// TestWhoWaitsForWhom: equal requests whose answer can be shared are one for Vault, and
// what cannot be shared waits for nobody.
func TestWhoWaitsForWhom(t *testing.T) {
	for _, static := range []bool{true, false} {
		for _, share := range []bool{true, false} {
			in(t, func(c *Config) { c.Static, c.ShareLogins = static, share }, func(r *rig) {
				r.v.login("root")
				r.v.login("stranger")
				r.v.login("newcomer")
				child := r.session("root", "PUT", "auth/token/create").made()
				for _, tt := range []struct {
					who, method, path string
					ask               func(method, path string) got
					one               bool
				}{
					{"session", "GET", "db/creds/new", func(m, p string) got { return r.session("root", m, p) }, true},
					{"session's first", "GET", "db/creds/first", func(m, p string) got { return r.session("newcomer", m, p) }, true},
					{"child", "GET", "db/creds/other", func(m, p string) got { return r.ask(child, m, p) }, true},
					{"child", "PUT", "auth/token/create", func(m, p string) got { return r.ask(child, m, p) }, true},
					{"login", "PUT", "auth/approle/login", func(m, p string) got { return r.ask("", m, p) }, share},
					{"stranger", "GET", "db/creds/x", func(m, p string) got { return r.ask("stranger", m, p) }, false},
					{"limited session", "GET", "db/creds/limited", func(m, p string) got {
						q := sessionRead("db/creds/limited")
						q.Session = &secret.Token{NumUses: 9}
						q.Token = "stranger"
						return r.send(q)
					}, false},
				} {
					n, took := r.together(10, tt.method+" /v1/"+tt.path, func() got { return tt.ask(tt.method, tt.path) })
					if tt.one && n != 1 || !tt.one && n != 10 {
						t.Errorf("static %t, logins %t: %s %s reached vault %d times", static, share, tt.who, tt.path, n)
					}
					if took > 2*time.Second || !tt.one && took > time.Second {
						t.Errorf("static %t, logins %t: %s %s took %v", static, share, tt.who, tt.path, took)
					}
				}
				// What gave nothing to keep is remembered, and what gave something again.
				r.session("root", "GET", "nothing/x")
				if _, took := r.together(10, "GET /v1/nothing/x", func() got { return r.session("root", "GET", "nothing/x") }); took > time.Second {
					t.Errorf("what cannot be kept was waited for: %v", took)
				}
				r.store(sessionRead("nothing/x"), 200, asJSON, leaseAnswer)
				if r.marks.isBarren("nothing/x") {
					t.Error("a path that gave a lease is not waited for")
				}
			})
		}
	}
}

// TestWhoWaitedIsServedOnlyWhileItsTokenLives.
func TestWhoWaitedIsServedOnlyWhileItsTokenLives(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app], r.v.kv["kv1/x"] = "v", "v"
		r.v.login("short", func(t *vaultToken) { t.end = time.Now().Add(10 * time.Second) })
		r.ask("short", "GET", "kv1/x")
		r.ask("short", "GET", "kv1/x") // looked up
		r.v.late = func() { time.Sleep(20 * time.Second) }
		go r.ask("short", "GET", app)
		synctest.Wait()
		if g := r.ask("short", "GET", app); g.hit || g.status != 403 {
			t.Errorf("after the token's end: %+v", g)
		}
	})
}

// TestALookUpThatFailsSaysNothing: nobody is served until it succeeds, nobody barred, and
// those who wait do not ask one after the other.
func TestALookUpThatFailsSaysNothing(t *testing.T) {
	for _, status := range []int{412, 429, 500, 503} {
		in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
			r.v.kv[app] = "v"
			r.v.login("root", func(t *vaultToken) { t.lookUp = status })
			for range 2 {
				if g := r.session("root", "GET", app); g.hit || g.status != 200 {
					t.Errorf("%d: %+v", status, g)
				}
			}
			before := r.requests(lookUps)
			if n, _ := r.together(10, appAPI, func() got { return r.session("root", "GET", app) }); n != 10 {
				t.Errorf("%d: %d of 10 reads reached vault", status, n)
			}
			if n := r.requests(lookUps) - before; n != 1 {
				t.Errorf("%d: %d look-ups for 10 who wait", status, n)
			}
			r.v.now(func() { r.v.tokens["root"].lookUp = 0 })
			if g := r.session("root", "GET", app); !g.hit {
				t.Errorf("%d: not served after the look-up succeeded: %+v", status, g)
			}
		})
	}
}

// TestARefusedTokenIsLookedUpAgain after the time a ticket lasts, and holds nothing till then.
func TestARefusedTokenIsLookedUpAgain(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge, c.TicketLife = time.Hour, time.Minute }, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("a", func(t *vaultToken) { t.noSelf = true })
		for range 3 {
			r.ask("a", "GET", app)
		}
		if n := r.Stats().Entries; n != 0 {
			t.Errorf("%d entries of a token that is never served", n)
		}
		r.v.now(func() { r.v.tokens["a"].noSelf = false })
		time.Sleep(time.Minute)
		r.ask("a", "GET", app)
		if g := r.ask("a", "GET", app); !g.hit {
			t.Errorf("a token that may look itself up by now: %+v", g)
		}
		r.v.login("session", func(t *vaultToken) { t.cidrs = []string{"10.0.0.0/8"} })
		for range 3 {
			if g := r.session("session", "GET", app); g.hit {
				t.Errorf("a bound session: %+v", g)
			}
		}
		if n := r.Stats().Entries; n != 1 {
			t.Errorf("%d entries, want that of a", n)
		}
		r.v.login("unbound", func(t *vaultToken) { t.cidrs = []string{""} })
		r.ask("unbound", "GET", app)
		if g := r.ask("unbound", "GET", app); !g.hit {
			t.Errorf("a token bound to nothing: %+v", g)
		}
		for i := range 10000 {
			r.bar(fmt.Sprint(i), 0)
		}
		if len(r.barred) > 5000 {
			t.Errorf("%d tokens are remembered", len(r.barred))
		}
	})
}

func TestALookUpIsMadeOnlyForAHit(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("a")
		for range 3 {
			r.ask("a", "GET", app)
			time.Sleep(20 * time.Second) // too old by the next read
		}
		r.ask("a", "GET", app)
		r.send(&Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: "a", Fresh: true})
		if n := r.requests(lookUps); n != 0 {
			t.Errorf("%d look-ups that help nobody", n)
		}
	})
}

// TestATokensEndIsNotRoundedUp: Vault says it in whole seconds.
func TestATokensEndIsNotRoundedUp(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("a", func(t *vaultToken) { t.end = time.Now().Add(30*time.Second + 600*time.Millisecond) })
		r.ask("a", "GET", app)
		r.ask("a", "GET", app)
		time.Sleep(30*time.Second + 700*time.Millisecond)
		if g := r.ask("a", "GET", app); g.hit {
			t.Errorf("after its end: %+v", g)
		}
	})
}

// TestWhatFailsForNowTakesNothing: a ticket stays when Vault is busy, and goes when it refuses.
func TestWhatFailsForNowTakesNothing(t *testing.T) {
	for status, stays := range map[int]bool{400: false, 403: false, 404: false, 412: true, 429: true, 500: true, 503: true} {
		in(t, nil, func(r *rig) {
			r.v.kv[app] = "v"
			r.v.login("a")
			r.ask("a", "GET", app)
			r.ask("a", "GET", app)
			fresh := &Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: "a", Fresh: true}
			r.store(fresh, status, asJSON, "{}")
			if g := r.ask("a", "GET", app); g.hit != stays {
				t.Errorf("after a %d: %+v", status, g)
			}
		})
	}
}

// TestOneTokenToldTwice, by an upstream with a cache of its own: both answers go with it.
func TestOneTokenToldTwice(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		const auth = `{"auth":{"client_token":"made","accessor":"acc-made","renewable":true,"lease_duration":3600}}`
		var reqs []*Request
		for _, body := range []string{"{}", `{"a":1}`} {
			req := sessionRead("auth/token/create")
			req.Method, req.Body = "PUT", []byte(body)
			reqs = append(reqs, req)
			r.store(req, 200, asJSON, auth)
		}
		r.ask("root", "PUT", "auth/token/revoke", `{"token":"made"}`)
		for i, req := range reqs {
			if r.Serve(discardWriter{}, req) {
				t.Errorf("answer %d tells a token that was revoked", i)
			}
		}
	})
}

// TestTheNewestAnswerCounts, whichever comes last, and of whatever kind it is.
func TestTheNewestAnswerCounts(t *testing.T) {
	in(t, nil, func(r *rig) {
		kv := func(v string) []byte { return fmt.Appendf(nil, `{"mount_type":"kv","data":{"value":%q}}`, v) }
		r.v.login("a")
		r.v.login("b")
		older := r.flight("a", "kv1/x")
		time.Sleep(time.Second)
		newer := r.flight("b", "kv1/x")
		newer.Store(asJSON, kv("new"))
		newer.Store(asJSON, kv("twice"))
		older.Store(asJSON, kv("old"))
		if g := r.ask("b", "GET", "kv1/x"); !g.hit || !strings.Contains(g.body, `"new"`) {
			t.Errorf("got %+v", g)
		}
		r.v.login("root")
		req := sessionRead("db/x")
		fresh := *req
		fresh.Fresh = true
		for i, body := range []string{leaseAnswer, strings.Replace(leaseAnswer, "z/1", "z/2", 1), string(kv("v")), leaseAnswer} {
			r.store(&fresh, 200, asJSON, body)
			if g := r.send(req); !g.hit || len(body) > 40 && i != 2 && !strings.Contains(g.body, body[:25]) || i == 2 != strings.Contains(g.body, "value") {
				t.Errorf("answer %d, %s: %+v", i, body, g)
			}
			r.consistent(t)
		}
	})
}

// TestALeaseCountsFromTheQuestion: the answer may have taken its time.
func TestALeaseCountsFromTheQuestion(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.v.late = func() { time.Sleep(10 * time.Second) }
		r.session("root", "PUT", "auth/token/create") // looked up by now
		r.session("root", "GET", "db/creds/x")
		if _, left := r.session("root", "GET", "db/creds/x").lease(); left > 3590 {
			t.Errorf("%ds are left", left)
		}
		id, _ := r.session("root", "GET", "db/creds/x").lease()
		r.ask("root", "PUT", "sys/leases/renew", fmt.Sprintf(`{"lease_id":%q}`, id))
		if _, left := r.session("root", "GET", "db/creds/x").lease(); left > 3590 {
			t.Errorf("%ds are left after a renewal", left)
		}
	})
}

// TestClearingTakesWhatIsOnItsWay, and no more than is meant.
func TestClearingTakesWhatIsOnItsWay(t *testing.T) {
	for _, tt := range []struct {
		what        ClearType
		value, left string
	}{
		{ClearAll, "", ""}, {ClearPath, "auth/token/create", "SNlLmtkp"}, {ClearPath, "db/creds/x", "NcoOlLmtkp"[1:]}, {ClearToken, "%C", "SNoOlLmtkp"},
		{ClearAccessor, "acc-%S", "NOlLmtkp"}, {ClearLease, "%Lid", "SNcCoOlmtkp"}, {ClearPath, "secret", "SNcCoOlLmk"},
	} {
		in(t, func(c *Config) { c.ShareLogins, c.MaxAge = true, time.Hour }, func(r *rig) {
			h := newHousehold(r, "")
			if err := h.Clear(tt.what, h.tokens.Replace(tt.value), ""); err != nil {
				t.Fatal(err)
			}
			for letter, f := range h.flights {
				f.Store(asJSON, []byte(onTheirWay[letter]))
			}
			want := strings.ReplaceAll(tt.left, "O", "")
			if left := strings.ReplaceAll(h.left("zqn"), "O", ""); left != want {
				t.Errorf("%s %s: left are %s, want %s", tt.what, tt.value, left, want)
			}
		})
	}
	in(t, nil, func(r *rig) { // a flight from before does not end the next one's
		r.v.login("root")
		req := sessionRead("db/creds/x")
		_, one := r.Enter(r.t.Context(), discardWriter{}, req)
		_ = r.Clear(ClearAll, "", "")
		_, two := r.Enter(r.t.Context(), discardWriter{}, req)
		one.Close()
		if r.flights[two.key] != two {
			t.Error("nobody waits for the second flight")
		}
		two.Close()
	})
}

// TestWhatEndsWhileVaultIsAsked: the answer to a look-up or a renewal brings nothing back.
func TestWhatEndsWhileVaultIsAsked(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"all":   func(r *rig) { _ = r.Clear(ClearAll, "", "") },
		"token": func(r *rig) { r.Forget("root") },
	} {
		in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
			r.v.login("root")
			r.v.kv[app] = "v"
			r.v.late = func() { time.Sleep(time.Second) }
			go r.session("root", "GET", app) // looks it up
			time.Sleep(time.Second / 2)
			end(r)
			time.Sleep(5 * time.Second)
			r.consistent(t)
			_ = r.Clear(ClearAll, "", "")
			r.session("root", "GET", "db/creds/x")
			before := r.requests("PUT /v1/sys/leases/renew")
			for r.requests("PUT /v1/sys/leases/renew") == before {
				time.Sleep(time.Second / 2)
			}
			end(r)
			time.Sleep(2 * time.Hour)
			if n := r.requests("PUT /v1/sys/leases/renew") - before; n != 1 {
				t.Errorf("%s: renewed %d times", name, n)
			}
			if r.queue.Len() != 0 {
				t.Errorf("%s: something is still to be renewed", name)
			}
		})
	}
}

// TestRenewalsThatAreRefused: what dies, what lives on to its end, and what is asked again.
func TestRenewalsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause func(r *rig)
		hit   bool // of the lease after its renewal was refused
		ends  bool // the token is dead
	}{
		{"no right", func(r *rig) { r.v.tokens["root"].denied["sys/leases/renew"] = true }, true, false},
		{"the lease is gone", func(r *rig) { clear(r.v.leases) }, false, false},
		{"the token is gone", func(r *rig) { r.v.revoke("root") }, false, true},
		{"busy", func(r *rig) { r.v.down = 429 }, true, false},
		{"behind", func(r *rig) { r.v.down = 412 }, true, false},
	} {
		in(t, nil, func(r *rig) {
			r.v.login("root")
			r.session("root", "GET", "db/creds/x")
			time.Sleep(20 * time.Minute)
			r.session("root", "GET", "db/creds/later")
			r.v.now(func() { tt.cause(r) })
			time.Sleep(21 * time.Minute) // the first is due at 40
			hit := func(path string) bool { return r.Serve(discardWriter{}, sessionRead(path)) }
			if h := hit("db/creds/x"); h != tt.hit {
				t.Errorf("%s: hit %t after the renewal", tt.name, h)
			}
			if h := hit("db/creds/later"); h == tt.ends {
				t.Errorf("%s: hit %t of another lease of the token", tt.name, h)
			}
			r.v.now(func() { r.v.down = 0 })
			time.Sleep(24 * time.Minute)
			if h := hit("db/creds/x"); h != (r.v.down == 0 && (tt.name == "busy" || tt.name == "behind")) {
				t.Errorf("%s: hit %t after the first end", tt.name, h)
			}
		})
	}
	in(t, nil, func(r *rig) { // a token that ends takes its leases with it
		r.v.login("root")
		child := r.session("root", "PUT", "auth/token/create").made()
		time.Sleep(20 * time.Minute)
		r.ask(child, "GET", "db/creds/x")
		r.v.now(func() { r.v.revoke(child) })
		time.Sleep(21 * time.Minute)
		if r.Serve(discardWriter{}, &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: child}) {
			t.Error("a lease of a token whose renewal found it gone")
		}
	})
}

// TestAManagedTokenWithoutLeasesIsStillKnown.
func TestAManagedTokenWithoutLeasesIsStillKnown(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		child := r.session("root", "PUT", "auth/token/create").made()
		id, _ := r.ask(child, "GET", "db/creds/x").lease()
		r.ask("root", "PUT", "sys/leases/revoke", fmt.Sprintf(`{"lease_id":%q}`, id))
		r.ask(child, "GET", "db/creds/x")
		if g := r.ask(child, "GET", "db/creds/x"); !g.hit {
			t.Errorf("got %+v", g)
		}
		time.Sleep(50 * time.Minute)
		if n := r.requests("PUT /v1/sys/leases/renew"); n != 1 {
			t.Errorf("%d renewals, want that of the lease that lives", n)
		}
	})
}

// TestALoginThatIsNotSharedIsItsOwnersToRenew, and its leases are kept till its end.
func TestALoginThatIsNotSharedIsItsOwnersToRenew(t *testing.T) {
	in(t, nil, func(r *rig) {
		token := r.ask("", "PUT", "auth/approle/login").made()
		r.ask(token, "GET", "db/creds/x")
		time.Sleep(57 * time.Minute)
		if g := r.ask(token, "GET", "db/creds/x"); !g.hit {
			t.Errorf("shortly before its end: %+v", g)
		}
		if n := r.requests("PUT /v1/auth/token/renew-self"); n != 0 {
			t.Errorf("renewed %d times by us", n)
		}
	})
}

// TestSecretsAreReadAgainByOneOfAll who use them, as they were asked for.
func TestSecretsAreReadAgainByOneOfAll(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv["kv1/x"], r.v.kv[app] = "v", "v"
		r.v.login("a")
		r.ask("a", "PUT", "kv1/x", `{"value":"w"}`) // not the first state of its marks
		for range 2 {
			r.within("", "ns", "a", "GET", "kv1/x")
			r.ask("a", "GET", app+"?version=1")
		}
		var again []string
		var slow atomic.Bool
		r.v.late = func() {
			if slow.Load() {
				time.Sleep(time.Second)
			}
		}
		r.v.hold = func(req *http.Request) {
			r.v.now(func() { again = append(again, req.URL.RequestURI()+" "+req.Header.Get("X-Vault-Namespace")) })
		}
		for round := range 3 {
			r.v.now(func() { again = nil })
			time.Sleep(8 * time.Second)
			for range 5 {
				if g := r.within("", "ns", "a", "GET", "kv1/x"); !g.hit {
					t.Errorf("round %d: %+v", round, g)
				}
			}
			synctest.Wait()
			r.v.now(func() {
				if got := fmt.Sprint(again); got != "[/v1/kv1/x ns]" {
					t.Errorf("round %d: vault was asked for %q", round, again)
				}
			})
		}
		r.ask("a", "GET", app+"?version=1")
		r.ask("a", "GET", app+"?version=1")
		r.v.now(func() { again = nil })
		time.Sleep(8 * time.Second)
		r.ask("a", "GET", app+"?version=1")
		synctest.Wait()
		r.v.now(func() {
			if got := fmt.Sprint(again); got != "[/v1/secret/data/app?version=1 ]" {
				t.Errorf("vault was asked for %q", again)
			}
		})
		// One that a write overtakes is not kept.
		r.ask("a", "GET", app)
		r.ask("a", "GET", app)
		time.Sleep(8 * time.Second)
		slow.Store(true)
		r.ask("a", "GET", app)
		time.Sleep(time.Millisecond)
		slow.Store(false)
		r.ask("a", "PUT", app, `{"value":"new"}`)
		time.Sleep(2 * time.Second)
		if g := r.ask("a", "GET", app); g.hit {
			t.Errorf("a re-read from before the write: %+v", g)
		}
	})
}

// TestNobodyIsServedByACacheThatDoesNotRun what has ended, and nothing is read again.
func TestNobodyIsServedByACacheThatDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var over *rig
		v := newVault()
		live(t, v, nil, func(r *rig) {
			over = r
			v.login("root")
			v.kv[app] = "v"
			r.session("root", "GET", "db/creds/x")
			r.session("root", "GET", app)
			r.session("root", "GET", app)
		})
		asked := len(v.asked)
		time.Sleep(8 * time.Second)
		if !over.Serve(discardWriter{}, sessionRead(app)) || !over.Serve(discardWriter{}, sessionRead("db/creds/x")) {
			t.Error("no hit at once after the end")
		}
		synctest.Wait()
		time.Sleep(time.Hour)
		if over.Serve(discardWriter{}, sessionRead("db/creds/x")) {
			t.Error("a lease that ended")
		}
		if len(v.asked) != asked {
			t.Errorf("vault was asked %v", v.asked[asked:])
		}
	})
}

// TestHowLongASecretIsFresh while the server tells of its changes.
func TestHowLongASecretIsFresh(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge, c.MaxAgeEvents = 10*time.Second, time.Minute }, func(r *rig) {
		for _, tt := range []struct {
			events, at, followed int64
			want                 time.Duration
		}{
			{0, 5, 0, 10 * time.Second}, {3, 5, 3, time.Minute}, {3, 2, 3, 10 * time.Second}, {3, 3, 3, 10 * time.Second}, {3, 5, 0, 10 * time.Second}, {3, 5, 2, 10 * time.Second},
		} {
			v := &value{}
			r.events.Store(tt.events)
			v.followed.Store(tt.followed)
			if got := r.limit(v, &Answer{at: time.Duration(tt.at)}); got != tt.want {
				t.Errorf("%+v: %v", tt, got)
			}
		}
		r.cfg.MaxAge, r.cfg.MaxAgeEvents = time.Hour, time.Minute
		r.events.Store(3)
		v := &value{}
		v.followed.Store(3)
		if got := r.limit(v, &Answer{at: 5}); got != time.Hour {
			t.Errorf("events made the limit %v", got)
		}
		r.events.Store(0)
	})
}

// TestADeadTokenGetsNothingWhileVaultIsAway.
func TestADeadTokenGetsNothingWhileVaultIsAway(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("short", func(t *vaultToken) { t.end = time.Now().Add(30 * time.Second) })
		r.v.login("a")
		for _, who := range []string{"short", "short", "a", "a"} {
			r.ask(who, "GET", app)
		}
		r.v.now(func() { r.v.down = 503 })
		time.Sleep(20 * time.Second)
		if g := r.ask("short", "GET", app); !g.hit {
			t.Errorf("before its end: %+v", g)
		}
		time.Sleep(11 * time.Second)
		if g := r.ask("short", "GET", app); g.hit {
			t.Errorf("after its end: %+v", g)
		}
		if g := r.ask("a", "GET", app); !g.hit {
			t.Errorf("another: %+v", g)
		}
		r.ask("a", "PUT", "auth/token/revoke-self") // nobody knows whether Vault got it
		if g := r.ask("a", "GET", app); g.hit {
			t.Errorf("after its revocation: %+v", g)
		}
	})
}

// TestWhatIsUsedStays when there is no room, and what is larger than all room is not kept.
func TestWhatIsUsedStays(t *testing.T) {
	in(t, func(c *Config) { c.MaxBytes, c.MaxAge = 32<<10, time.Hour }, func(r *rig) {
		r.v.login("a")
		path := func(i int) string { return fmt.Sprintf("kv1/%d", i) }
		for i := range 500 {
			r.v.kv[path(i)] = strings.Repeat("x", 100)
		}
		r.ask("a", "GET", path(0))
		r.ask("a", "GET", path(0))
		for i := range 500 {
			r.ask("a", "GET", path(i))
			if g := r.ask("a", "GET", path(0)); !g.hit {
				t.Fatalf("what is always in use was dropped after %d", i)
			}
		}
		for i := range 500 { // all in use: one of them must go all the same
			r.ask("a", "GET", path(i))
			if g := r.ask("a", "GET", path(i)); !g.hit {
				t.Fatalf("what was asked for last was dropped, at %d", i)
			}
		}
		r.v.kv["kv1/large"] = strings.Repeat("x", 40<<10)
		r.ask("a", "GET", "kv1/large")
		if g := r.ask("a", "GET", "kv1/large"); g.hit || r.size > 32<<10 {
			t.Errorf("%d bytes are kept", r.size)
		}
	})
}

// TestRenewalsOfClientsAreNoticed in each of their forms, old and new, and only when Vault did it.
func TestRenewalsOfClientsAreNoticed(t *testing.T) {
	for _, tt := range []struct {
		what, body, answer, letter string
		status, left               int
	}{
		{"sys/leases/renew", "", `{"lease_id":"%Sid","lease_duration":1000}`, "S", 200, 1000}, {"sys/renew/%Sid", "", `{"lease_id":"%Sid","lease_duration":1000}`, "S", 200, 1000},
		{"sys/leases/renew", "", `{"lease_id":"%Sid","lease_duration":1000}`, "S", 500, 3600}, {"sys/leases/renew", "", `{"lease_id":"other","lease_duration":1000}`, "S", 200, 3600},
		{"auth/token/renew", `{"token":"%C"}`, `{"auth":{"lease_duration":1000}}`, "c", 200, 1000}, {"auth/token/renew-accessor", `{"accessor":"acc-%C"}`, `{"auth":{"lease_duration":1000}}`, "c", 200, 1000},
		{"auth/token/renew", `{"token":"%C"}`, `{"auth":{"lease_duration":1000}}`, "c", 204, 3600}, {"auth/token/renew-self", "", `{"auth":{"lease_duration":1000}}`, "c", 200, 3600},
	} {
		in(t, func(c *Config) { c.ShareLogins, c.MaxAge = true, time.Hour }, func(r *rig) {
			h := newHousehold(r, "")
			for _, f := range h.flights {
				f.Close()
			}
			req := &Request{Method: "PUT", Path: "/v1/" + h.tokens.Replace(tt.what), Token: "own", Body: []byte(h.tokens.Replace(tt.body))}
			change := r.Change(req)
			if !change.Wants() {
				t.Errorf("%s: the answer is not looked at", tt.what)
			}
			time.Sleep(100 * time.Second) // the answer takes its time
			change.End(tt.status, []byte(h.tokens.Replace(tt.answer)))
			if _, left := r.send(h.reads[tt.letter]).lease(); left != tt.left-100 {
				t.Errorf("%s %s: %d: %ds are left, want %d", tt.what, tt.body, tt.status, left, tt.left-100)
			}
			if tt.left == 1000 {
				time.Sleep(700 * time.Second)
				if n := r.requests("PUT /v1/sys/leases/renew") + r.requests("PUT /v1/auth/token/renew-self"); n != 1 {
					t.Errorf("%s: %d renewals by the new end, want 1", tt.what, n)
				}
			}
		})
	}
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) { // a token's end is that of its renewal
		r.v.kv[app] = "v"
		r.v.login("a", func(t *vaultToken) { t.end = time.Now().Add(30 * time.Second) })
		r.v.login("endless")
		for _, who := range []string{"a", "a", "endless", "endless"} {
			r.ask(who, "GET", app)
		}
		for _, who := range []string{"a", "endless"} {
			r.Change(&Request{Method: "PUT", Path: "/v1/auth/token/renew-self", Token: who}).End(200, []byte(`{"auth":{"lease_duration":60}}`))
		}
		time.Sleep(59 * time.Second)
		if g := r.ask("a", "GET", app); !g.hit {
			t.Errorf("before its new end: %+v", g)
		}
		time.Sleep(time.Second)
		if r.Serve(discardWriter{}, &Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: "a"}) {
			t.Error("after its new end")
		}
		if g := r.ask("endless", "GET", app); !g.hit {
			t.Errorf("one without an end: %+v", g)
		}
	})
}

// TestAChangeEndsOnce: what its defer says after the answer counts no more.
func TestAChangeEndsOnce(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("a")
		change := r.Change(&Request{Method: "PUT", Path: "/v1/" + app, Token: "a"})
		change.End(403, nil)
		r.ask("a", "GET", app)
		r.ask("a", "GET", app)
		change.End(0, nil)
		if g := r.ask("a", "GET", app); !g.hit {
			t.Errorf("got %+v", g)
		}
		// From its announcement on no answer is kept that was asked for before.
		f := r.flight("a", "secret/data/other")
		change = r.Change(&Request{Method: "PUT", Path: "/v1/secret/data/other", Token: "a"})
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, g := r.Enter(ctx, discardWriter{}, &f.r)
		if g.Close(); time.Since(began) > 0 {
			t.Error("a read waits for one from before a write began")
		}
		f.Store(asJSON, []byte(onTheirWay["q"]))
		if r.Serve(discardWriter{}, &f.r) {
			t.Error("an answer from before a write that is on its way is served")
		}
		change.End(204, nil)
	})
}

// TestAnEventTakesItsSecret, in its namespace, and keeps out what is on its way.
func TestAnEventTakesItsSecret(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("a")
		for _, path := range []string{app, "ns1/" + app} {
			r.flight("a", path).Store(asJSON, []byte(onTheirWay["q"]))
		}
		f := r.flight("a", "secret/data/other")
		r.changed(events.Change{Namespace: "ns1", Paths: []string{app}})
		r.changed(events.Change{Paths: []string{"secret/data/other"}})
		f.Store(asJSON, []byte(onTheirWay["q"]))
		var left []string
		for _, v := range r.values {
			left = append(left, v.groups[0])
		}
		if got := fmt.Sprint(left); got != "["+app+"]" {
			t.Errorf("left are %s", got)
		}
	})
}
