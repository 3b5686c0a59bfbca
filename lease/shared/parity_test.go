package shared

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// in a namespace, by header or in the path.
func (r *rig) within(ns, header, token, method, path string, body ...string) got {
	req := Request{Method: method, Path: "/v1/" + join(ns, path), Token: token, Namespace: header}
	req.RawPath = req.Path
	if len(body) > 0 {
		req.Body = []byte(body[0])
	}
	return r.send(&req)
}

// TestOrphansAreSharedWithTheirMaker, if we would learn of the end of the maker's own
// token: else it could go on to ask for tokens.
func TestOrphansAreSharedWithTheirMaker(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		one := r.session("root", "PUT", "auth/token/create-orphan")
		if two := r.session("root", "PUT", "auth/token/create-orphan"); !two.hit || two.made() != one.made() {
			t.Errorf("an orphan was not shared: %+v", two)
		}
		r.ask(one.made(), "GET", "db/creds/x")
		if g := r.ask(one.made(), "GET", "db/creds/x"); !g.hit {
			t.Errorf("the orphan's lease was not shared: %+v", g)
		}
		r.v.login("another")
		if g := r.ask("another", "PUT", "auth/token/create-orphan"); g.hit {
			t.Errorf("another caller got the orphan: %+v", g)
		}
		for _, what := range []string{"auth/token/create", "auth/token/create-orphan"} {
			r.v.login("unknown")
			r.ask("unknown", "PUT", what)
			r.v.revoke("unknown")
			if g := r.ask("unknown", "PUT", what); g.hit || g.status != 403 {
				t.Errorf("%s with a token that was revoked: %+v", what, g)
			}
		}
	})
}

func TestCacheClearOfSecrets(t *testing.T) {
	for _, tt := range []struct {
		what      ClearType
		value, ns string
		root, ns1 bool // who still gets hits
	}{
		{ClearPath, "/v1/secret/data", "", false, true}, {ClearPath, "secret/data/app", "", false, true}, {ClearPath, "/v1/secret/data/application", "", true, true},
		{ClearPath, "/v1/secret", "ns1", true, false}, {ClearPath, "/v1/ns1/secret", "", true, false}, {ClearPath, "ns1", "", true, false},
		{ClearToken, "a", "", false, false}, {ClearAccessor, "acc-a", "", false, false}, {ClearAll, "", "", false, false},
		{ClearToken, "b", "", true, true}, {ClearLease, "a", "", true, true},
	} {
		t.Run(fmt.Sprintf("%s %s %s", tt.what, tt.value, tt.ns), func(t *testing.T) {
			in(t, nil, func(r *rig) {
				r.v.kv[app], r.v.kv["ns1/"+app] = "v", "v"
				r.v.login("a")
				for range 3 {
					r.ask("a", "GET", app)
				}
				f := r.flight("a", "ns1/"+app)
				f.Store(http.Header{"Content-Type": {"application/json"}}, []byte(`{"mount_type":"kv","data":{"data":{"value":"v"},"metadata":{"version":1,"created_time":"t"}}}`))
				if err := r.Clear(tt.what, tt.value, tt.ns); err != nil {
					t.Fatal(err)
				}
				hit := func(path string) bool {
					return r.Serve(discardWriter{}, &Request{Method: "GET", Path: path, RawPath: path, Token: "a"})
				}
				if root, ns1 := hit("/v1/"+app), hit("/v1/ns1/"+app); root != tt.root || ns1 != tt.ns1 {
					t.Errorf("hits: %t and in ns1 %t, want %t and %t", root, ns1, tt.root, tt.ns1)
				}
			})
		})
	}
}

// TestRevocationInANamespace: it may stand in the header or in the path.
func TestRevocationInANamespace(t *testing.T) {
	for _, tt := range []struct{ path, header, what string }{
		{"", "ns1", "sys/leases/revoke"}, {"ns1", "", "sys/leases/revoke"}, {"ns1/sub", "", "sys/leases/revoke"}, {"sub", "ns1", "sys/leases/revoke"},
		{"", "ns1", "auth/token/revoke"}, {"ns1", "", "auth/token/revoke"}, {"ns1", "", "auth/token/revoke-accessor"}, {"", "ns1", "sys/leases/revoke-prefix/db"},
		{"ns1", "", "sys/leases/revoke-force/db"}, {"ns1", "", "sys/revoke"},
	} {
		in(t, nil, func(r *rig) {
			r.v.login("root")
			top := r.session("root", "PUT", "auth/token/create").made()
			id, _ := r.ask(top, "GET", "db/creds/x").lease()
			r.within(tt.path, tt.header, "root", "PUT", tt.what, fmt.Sprintf(`{"lease_id":%q,"token":%q,"accessor":"acc-%s"}`, id, top, top))
			if r.Serve(discardWriter{}, &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: top}) {
				t.Errorf("%+v left the lease", tt)
			}
		})
	}
}

// TestRenewalsAreMadeInTheLeasesNamespace: Vault's own proxy forgets it.
func TestRenewalsAreMadeInTheLeasesNamespace(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.session("root", "GET", "db/creds/other") // the token is known by now
		var renewed []string                       // guarded by the model's lock
		r.v.hold = func(req *http.Request) {
			if strings.HasSuffix(req.URL.Path, "sys/leases/renew") {
				r.v.now(func() { renewed = append(renewed, req.Header.Get("X-Vault-Namespace")) })
			}
		}
		r.within("", "ns1", "root", "GET", "db/creds/x")
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		r.v.mu.Lock()
		defer r.v.mu.Unlock()
		if got := fmt.Sprint(renewed); got != "[ ns1]" && got != "[ns1 ]" {
			t.Errorf("renewed in the namespaces %q", renewed)
		}
	})
}

// TestARefreshThatIsRefusedEvicts: the re-read ahead of the maximum age finds out that
// the caller may no longer read, or that nothing is there any more.
func TestARefreshThatIsRefusedEvicts(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"revoked":  func(r *rig) { r.v.revoke("a") },
		"no right": func(r *rig) { r.v.tokens["a"].denied[app] = true },
		"deleted":  func(r *rig) { delete(r.v.kv, app) },
	} {
		in(t, nil, func(r *rig) {
			r.v.kv[app] = "v"
			r.v.login("a")
			r.ask("a", "GET", app)
			r.ask("a", "GET", app)
			r.v.now(func() { end(r) })
			time.Sleep(8 * time.Second)
			r.ask("a", "GET", app) // young enough, and read again in the background
			synctest.Wait()
			if g := r.ask("a", "GET", app); g.hit || g.status < 400 {
				t.Errorf("%s: after the re-read %+v", name, g)
			}
			if n := r.Stats().Entries; n != 0 {
				t.Errorf("%s: %d entries are left", name, n)
			}
		})
	}
}

// TestTheSessionsEndTakesAllWithIt, and the next one begins afresh.
func TestTheSessionsEndTakesAllWithIt(t *testing.T) {
	in(t, nil, func(r *rig) {
		top, middle, leaf, orphan := r.family()
		r.ask("root", "PUT", "auth/token/revoke-self")
		for i, token := range []string{"root", top, middle, leaf, orphan} {
			req := &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: token}
			if hit := r.Serve(discardWriter{}, req); hit != (token == orphan) {
				t.Errorf("token %d of the family: hit %t", i, hit)
			}
		}
		r.v.login("next")
		r.session("next", "GET", "db/creds/x")
		if g := r.session("next", "GET", "db/creds/x"); !g.hit {
			t.Errorf("nothing is kept for the next session: %+v", g)
		}
	})
}

// TestALongChainOutlivesARestart: a hundred tokens, each made by the one before.
func TestALongChainOutlivesARestart(t *testing.T) {
	const length = 100
	var chain []string
	lives(t, nil, func(r *rig) {
		r.v.login("root")
		chain = append(chain, r.session("root", "PUT", "auth/token/create").made())
		for len(chain) < length {
			last := chain[len(chain)-1]
			r.ask(last, "GET", "db/creds/x")
			chain = append(chain, r.ask(last, "PUT", "auth/token/create").made())
		}
	}, func(r *rig) {
		for i, token := range chain[:length-1] {
			if g := r.ask(token, "GET", "db/creds/x"); !g.hit {
				t.Fatalf("token %d of the chain gets no hit", i)
			}
		}
		r.ask("root", "PUT", "auth/token/revoke", fmt.Sprintf(`{"token":%q}`, chain[length/2]))
		for i, token := range chain[:length-1] {
			req := &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: token}
			if hit := r.Serve(discardWriter{}, req); hit != (i < length/2) {
				t.Errorf("token %d of the chain after its middle was revoked: hit %t", i, hit)
			}
		}
	})
}
