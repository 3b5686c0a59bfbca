package shared

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// made is the token an answer created.
func (g got) made() string {
	var a struct{ Auth struct{ ClientToken string } }
	_ = json.Unmarshal([]byte(strings.ReplaceAll(g.body, "client_token", "ClientToken")), &a)
	return a.Auth.ClientToken
}

// lease is what an answer says of its lease.
func (g got) lease() (id string, left int) {
	var a struct {
		ID   string `json:"lease_id"`
		Left int    `json:"lease_duration"`
		Auth *struct {
			Left int `json:"lease_duration"`
		}
	}
	_ = json.Unmarshal([]byte(g.body), &a)
	if a.Auth != nil {
		return "", a.Auth.Left
	}
	return a.ID, a.Left
}

// session asks with the session's token.
func (r *rig) session(token, method, path string) got {
	return r.send(&Request{Method: method, Path: "/v1/" + path, RawPath: "/v1/" + path, Token: token, Session: &secret.Token{ID: secret.NewText(token)}})
}

func TestLeasesOfKnownTokensAreShared(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		first := r.session("root", "GET", "db/creds/app")
		time.Sleep(10 * time.Second)
		second := r.session("root", "GET", "db/creds/app")
		id1, _ := first.lease()
		id2, left := second.lease()
		if first.hit || !second.hit || id1 != id2 || second.age != "10" || left != 3590 {
			t.Errorf("first %+v, second %+v", first, second)
		}
		if g := r.session("root", "GET", "db/creds/other"); g.hit {
			t.Error("another path hit")
		}
		r.v.login("foreign")
		r.ask("foreign", "GET", "db/creds/app")
		if g := r.ask("foreign", "GET", "db/creds/app"); g.hit {
			t.Error("a lease of a token nobody knows was shared")
		}
		child := r.session("root", "PUT", "auth/token/create").made()
		if g := r.session("root", "PUT", "auth/token/create"); !g.hit || g.made() != child {
			t.Errorf("the creation was not shared: %+v", g)
		}
		r.ask(child, "GET", "db/creds/app")
		if g := r.ask(child, "GET", "db/creds/app"); !g.hit {
			t.Error("a lease of a token made through us was not shared")
		}
	})
}

func TestOnlyTheDurationOfTheLeaseIsCountedDown(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		first := r.session("root", "GET", "db/creds/app")
		time.Sleep(3000 * time.Second / 100)
		second := r.session("root", "GET", "db/creds/app")
		if want := strings.Replace(first.body, `"lease_duration":3600`, `"lease_duration":3570`, 1); second.body != want {
			t.Errorf("hit %q, want %q", second.body, want)
		}
	})
}

func TestLeasesAreRenewedUntilTheirMaximum(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.v.now(func() { r.v.maxTTL = 2 * time.Hour })
		id, _ := r.session("root", "GET", "db/creds/app").lease()
		time.Sleep(90 * time.Minute)
		g := r.session("root", "GET", "db/creds/app")
		if again, left := g.lease(); !g.hit || again != id || left < 600 || left > 3600 {
			t.Errorf("after 90m: %+v", g)
		}
		time.Sleep(29 * time.Minute)
		g = r.session("root", "GET", "db/creds/app")
		if again, left := g.lease(); g.hit || again == id || left != 3600 {
			t.Errorf("just before its maximum the old lease was handed out: %+v", g)
		}
		if n := r.requests("PUT /v1/sys/leases/renew"); n < 2 || n > 5 {
			t.Errorf("renewed %d times in two hours", n)
		}
	})
}

func TestALeaseThatIsGoneIsForgottenAtItsRenewal(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.session("root", "GET", "db/creds/app")
		r.v.now(func() { clear(r.v.leases) }) // behind our back
		time.Sleep(41 * time.Minute)
		if g := r.session("root", "GET", "db/creds/app"); g.hit {
			t.Errorf("hit %+v", g)
		}
	})
}

func TestRenewalsAreRepeatedWhileVaultIsAway(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.session("root", "GET", "db/creds/app")
		time.Sleep(30 * time.Minute)
		r.v.now(func() { r.v.down = 503 })
		time.Sleep(20 * time.Minute)
		r.v.now(func() { r.v.down = 0 })
		time.Sleep(2 * time.Minute)
		if g := r.session("root", "GET", "db/creds/app"); !g.hit {
			t.Errorf("the lease was lost: %+v", g)
		} else if _, left := g.lease(); left < 3400 {
			t.Errorf("the lease was not renewed: %+v", g)
		}
		r.v.now(func() { r.v.down = 503 })
		time.Sleep(time.Hour)
		if g := r.session("root", "GET", "db/creds/app"); g.hit {
			t.Errorf("a lease that ended was served: %+v", g)
		}
		if n := r.requests("PUT /v1/sys/leases/renew"); n > 200 {
			t.Errorf("%d renewals were tried", n)
		}
	})
}

func TestRenewalThroughUsIsPassedOnAndNoticed(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		id, _ := r.session("root", "GET", "db/creds/app").lease()
		time.Sleep(30 * time.Minute)
		for range 2 {
			if g := r.ask("root", "PUT", "sys/leases/renew", fmt.Sprintf(`{"lease_id":%q}`, id)); g.hit {
				t.Errorf("a renewal was answered from the cache: %+v", g)
			}
		}
		if _, left := r.session("root", "GET", "db/creds/app").lease(); left != 3600 {
			t.Errorf("%ds are left after a renewal", left)
		}
		child := r.session("root", "PUT", "auth/token/create").made()
		time.Sleep(10 * time.Minute)
		r.ask(child, "PUT", "auth/token/renew-self")
		if _, left := r.session("root", "PUT", "auth/token/create").lease(); left != 3600 {
			t.Errorf("%ds are left of a token after a renewal", left)
		}
	})
}

// family makes root ─ top ─ middle ─ leaf, each with a lease, and an orphan of middle.
func (r *rig) family() (top, middle, leaf, orphan string) {
	r.v.login("root")
	r.session("root", "GET", "db/creds/x")
	top = r.session("root", "PUT", "auth/token/create").made()
	middle = r.ask(top, "PUT", "auth/token/create").made()
	leaf = r.ask(middle, "PUT", "auth/token/create").made()
	orphan = r.ask(middle, "PUT", "auth/token/create-orphan").made()
	for _, k := range []string{top, middle, leaf, orphan} {
		r.ask(k, "GET", "db/creds/x")
		if g := r.ask(k, "GET", "db/creds/x"); !g.hit {
			r.t.Fatalf("no hit for %s: %+v", k, g)
		}
	}
	return top, middle, leaf, orphan
}

func TestRevocationTakesTheTree(t *testing.T) {
	for _, tt := range []struct {
		name, who, path, body string
		left                  []string // who still gets hits
	}{
		{"self of the leaf", "leaf", "auth/token/revoke-self", "", []string{"root", "top", "middle", "orphan"}},
		{"self of the middle", "middle", "auth/token/revoke-self", "", []string{"root", "top", "orphan"}},
		{"self of the top", "top", "auth/token/revoke-self", "", []string{"root", "orphan"}},
		{"token", "root", "auth/token/revoke", `{"token":"%middle"}`, []string{"root", "top", "orphan"}},
		{"accessor", "root", "auth/token/revoke-accessor", `{"accessor":"acc-%middle"}`, []string{"root", "top", "orphan"}},
		{"orphaning", "root", "auth/token/revoke-orphan", `{"token":"%middle"}`, []string{"root", "top", "leaf", "orphan"}},
		{"prefix", "root", "sys/leases/revoke-prefix/db/creds", "", nil},
		{"force", "root", "sys/leases/revoke-force/db", "", nil},
		{"old prefix", "root", "sys/revoke-prefix/db/creds/x", "", nil},
		{"mount", "root", "sys/mounts/db", "", nil},
		{"prefix of tokens", "root", "sys/leases/revoke-prefix/auth/token/create", "", nil},
		{"lease of a token", "root", "sys/leases/revoke/auth/token/create/h123", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, nil, func(r *rig) {
				top, middle, leaf, orphan := r.family()
				names := map[string]string{"root": "root", "top": top, "middle": middle, "leaf": leaf, "orphan": orphan}
				body := tt.body
				for name, token := range names {
					body = strings.ReplaceAll(body, "%"+name, token)
				}
				method := "PUT"
				if tt.path == "sys/mounts/db" {
					method = "DELETE"
				}
				r.ask(names[tt.who], method, tt.path, body)
				for name, token := range names {
					want := false
					for _, l := range tt.left {
						want = want || l == name
					}
					req := &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: token}
					if hit := r.Serve(discardWriter{}, req); hit != want {
						t.Errorf("%s gets a hit: %v, want %v", name, hit, want)
					}
				}
			})
		})
	}
}

func TestRevocationOfOneLease(t *testing.T) {
	for _, form := range []string{"body", "url", "old body", "old url"} {
		in(t, nil, func(r *rig) {
			r.v.login("root")
			id, _ := r.session("root", "GET", "db/creds/app").lease()
			r.session("root", "GET", "db/creds/other")
			switch form {
			case "body":
				r.ask("root", "PUT", "sys/leases/revoke", fmt.Sprintf(`{"lease_id":%q}`, id))
			case "url":
				r.ask("root", "PUT", "sys/leases/revoke/"+id)
			case "old body":
				r.ask("root", "PUT", "sys/revoke", fmt.Sprintf(`{"lease_id":%q}`, id))
			case "old url":
				r.ask("root", "PUT", "sys/revoke/"+id)
			}
			if g := r.session("root", "GET", "db/creds/app"); g.hit {
				t.Errorf("%s: the revoked lease was served", form)
			}
			if g := r.session("root", "GET", "db/creds/other"); !g.hit {
				t.Errorf("%s: another lease was dropped", form)
			}
		})
	}
}

func TestARefusedRevocationDropsNothing(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.v.login("poor", func(t *vaultToken) { t.denied["sys/leases/revoke-prefix/db"] = true })
		r.session("root", "GET", "db/creds/app")
		r.ask("poor", "PUT", "sys/leases/revoke-prefix/db")
		if g := r.session("root", "GET", "db/creds/app"); !g.hit {
			t.Error("a revocation Vault refused emptied the cache")
		}
	})
}

func TestAnOrphansMakerGoneLeavesItButNotItsCreation(t *testing.T) {
	in(t, nil, func(r *rig) {
		_, middle, _, orphan := r.family()
		r.ask(middle, "PUT", "auth/token/revoke-self")
		if g := r.ask(middle, "PUT", "auth/token/create-orphan"); g.hit || g.status != 403 {
			t.Errorf("a revoked token got %+v", g)
		}
		if g := r.ask(orphan, "GET", "db/creds/x"); !g.hit {
			t.Error("the orphan's lease was dropped")
		}
	})
}

func TestLogins(t *testing.T) {
	for _, share := range []bool{false, true} {
		in(t, func(c *Config) { c.ShareLogins = share }, func(r *rig) {
			one := r.ask("", "PUT", "auth/approle/login", `{"role_id":"x"}`)
			two := r.ask("", "PUT", "auth/approle/login", `{"role_id":"x"}`)
			if two.hit != share || (one.made() == two.made()) != share {
				t.Errorf("sharing %v: %+v and %+v", share, one, two)
			}
			r.ask(one.made(), "GET", "db/creds/x")
			if g := r.ask(one.made(), "GET", "db/creds/x"); !g.hit {
				t.Errorf("sharing %v: the lease of a login's token is not shared", share)
			}
			r.v.login("root")
			r.ask("root", "DELETE", "sys/auth/approle")
			if g := r.ask(one.made(), "GET", "db/creds/x"); g.hit {
				t.Errorf("sharing %v: hit after the mount was disabled", share)
			}
			time.Sleep(90 * time.Minute)
			synctest.Wait()
			if !share && len(r.callers) != 0 {
				t.Errorf("%d tokens are known after their end", len(r.callers))
			}
		})
	}
}

func TestCacheClear(t *testing.T) {
	for _, tt := range []struct {
		what      ClearType
		value     string
		hits      bool // of the lease below top
		wantError bool
	}{
		{ClearPath, "/v1/db/creds", false, false}, {ClearPath, "db/creds/x", false, false}, {ClearPath, "/v1/other", true, false},
		{ClearToken, "%top", false, false}, {ClearToken, "nobody", true, false}, {ClearAccessor, "acc-%top", false, false},
		{ClearLease, "%lease", false, false}, {ClearAll, "", false, false},
		{ClearToken, "", true, true}, {"", "x", true, true}, {"everything", "x", true, true},
	} {
		t.Run(fmt.Sprintf("%s %s", tt.what, tt.value), func(t *testing.T) {
			in(t, nil, func(r *rig) {
				r.v.login("root")
				top := r.session("root", "PUT", "auth/token/create").made()
				lease, _ := r.ask(top, "GET", "db/creds/x").lease()
				value := strings.NewReplacer("%top", top, "%lease", lease).Replace(tt.value)
				if err := r.Clear(tt.what, value, ""); (err != nil) != tt.wantError {
					t.Errorf("clear: %v", err)
				}
				if g := r.ask(top, "GET", "db/creds/x"); g.hit != tt.hits {
					t.Errorf("afterwards: %+v, want hit %v", g, tt.hits)
				}
				r.session("root", "GET", "db/creds/y") // the session is still good for leases
				if g := r.session("root", "GET", "db/creds/y"); !g.hit {
					t.Error("nothing is kept any more")
				}
			})
		})
	}
}

func TestOneFlightForManyEqualLeases(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.v.hold = func(*request) { time.Sleep(time.Second) }
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { r.session("root", "GET", "db/creds/app") })
		}
		all.Wait()
		if n := r.requests("GET /v1/db/creds/app"); n != 1 {
			t.Errorf("vault was asked %d times, want once", n)
		}
	})
}

func TestALeaseRevokedOnItsWayIsNotKept(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.login("root")
		r.session("root", "GET", "db/creds/other")
		f := r.flight("root", "db/creds/app")
		r.ask("root", "PUT", "sys/leases/revoke-prefix/db")
		f.Store(map[string][]string{"Content-Type": {"application/json"}}, []byte(`{"lease_id":"db/creds/app/1","renewable":true,"lease_duration":3600}`))
		if g := r.session("root", "GET", "db/creds/app"); g.hit {
			t.Errorf("hit %+v", g)
		}
	})
}

func TestALeaseDroppedForRoomIsStillRenewed(t *testing.T) {
	in(t, func(c *Config) { c.MaxBytes = 20 << 10 }, func(r *rig) {
		r.v.login("root")
		id, _ := r.session("root", "GET", "db/creds/0").lease()
		for i := range 100 {
			r.v.kv[fmt.Sprintf("kv1/%d", i)] = strings.Repeat("x", 200)
			r.ask("root", "GET", fmt.Sprintf("kv1/%d", i))
		}
		time.Sleep(time.Hour + time.Minute)
		r.v.now(func() {
			if l := r.v.leases[id]; l == nil || !time.Now().Before(l.end) {
				t.Error("the lease its reader still uses was left to die")
			}
		})
	})
}

// TestLeasesDroppedForRoomAreNotLookedAtAgain: there may be many of them, and no room can
// be made with them.
func TestLeasesDroppedForRoomAreNotLookedAtAgain(t *testing.T) {
	in(t, func(c *Config) { c.MaxBytes = 20 << 10 }, func(r *rig) {
		r.v.login("root")
		for i := range 100 {
			r.session("root", "GET", fmt.Sprintf("db/creds/%d", i))
		}
		if n, entries := r.order.Len(), len(r.entries); n != entries || r.aside.Len() != 100-n {
			t.Errorf("%d of 100 are looked at for room, %d can be served, %d are aside", n, entries, r.aside.Len())
		}
		if err := r.Clear(ClearAll, "", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := r.requests("PUT /v1/sys/leases/renew"); n != 0 {
			t.Errorf("%d of what was cleared was renewed", n)
		}
	})
}
