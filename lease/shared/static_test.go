package shared

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const app, appAPI = "secret/data/app", "GET /v1/secret/data/app"

func TestFirstReadOfEachCallerGoesToVault(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app] = "one"
		for _, who := range []string{"a", "b"} {
			r.v.login(who)
			for i, want := range []bool{false, true, true} {
				if g := r.ask(who, "GET", app); g.hit != want || g.status != 200 {
					t.Errorf("read %d of %s: %+v, want hit %v", i, who, g, want)
				}
			}
		}
		if n := r.requests(appAPI); n != 2 {
			t.Errorf("vault was asked %d times, want 2", n)
		}
		r.v.login("c", func(t *vaultToken) { t.denied[app] = true })
		if g := r.ask("c", "GET", app); g.hit || g.status != 403 {
			t.Errorf("a caller without the right got %+v", g)
		}
		if g := r.ask("", "GET", app); g.hit || g.status != 403 {
			t.Errorf("a caller without a token got %+v", g)
		}
	})
}

func TestValuesAgeAndAreReadAgain(t *testing.T) {
	in(t, nil, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app] = "old"
		r.ask(a, "GET", app)
		r.v.now(func() { r.v.kv[app] = "new" }) // behind our back
		time.Sleep(7 * time.Second)
		if g := r.ask(a, "GET", app); !g.hit || g.age != "7" || !strings.Contains(g.body, "old") {
			t.Errorf("after 7s: %+v", g)
		}
		time.Sleep(time.Second) // now used when nearly too old: it is re-read in the background
		r.ask(a, "GET", app)
		synctest.Wait()
		if g := r.ask(a, "GET", app); !g.hit || g.age != "0" || !strings.Contains(g.body, "new") {
			t.Errorf("after the re-read: %+v", g)
		}
		time.Sleep(10 * time.Second)
		if g := r.ask(a, "GET", app); g.hit {
			t.Errorf("a value as old as the bound was served: %+v", g)
		}
	})
}

func TestZeroMaxAgeAsksEveryTime(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = 0 }, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app] = "v"
		for range 3 {
			if g := r.ask(a, "GET", app); g.hit {
				t.Errorf("hit: %+v", g)
			}
		}
	})
}

func TestTicketsMustBeEarnedAgain(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge, c.TicketLife = time.Hour, time.Minute }, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app] = "v"
		r.ask(a, "GET", app)
		time.Sleep(59 * time.Second)
		if g := r.ask(a, "GET", app); !g.hit {
			t.Errorf("within its life a ticket did not help: %+v", g)
		}
		r.v.now(func() { r.v.tokens[a].denied[app] = true })
		time.Sleep(time.Second)
		if g := r.ask(a, "GET", app); g.hit || g.status != 403 {
			t.Errorf("a caller who lost the right got %+v", g)
		}
	})
}

func TestTokensThatAreNeverServed(t *testing.T) {
	for name, change := range map[string]func(*vaultToken){
		"limited uses":      func(t *vaultToken) { t.uses = 100 },
		"bound to address":  func(t *vaultToken) { t.cidrs = []string{"10.0.0.0/8"} },
		"no look-up":        func(t *vaultToken) { t.noSelf = true },
		"no look-up either": func(t *vaultToken) { t.denied["auth/token/lookup-self"] = true },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, nil, func(r *rig) {
				a := r.v.login("a", change)
				r.v.kv[app] = "v"
				for range 5 {
					if g := r.ask(a, "GET", app); g.hit || g.status != 200 {
						t.Errorf("got %+v", g)
					}
				}
				if n := r.requests("GET /v1/auth/token/lookup-self"); n != 1 {
					t.Errorf("looked up %d times", n)
				}
			})
		})
	}
}

func TestATokenUsedOnceIsNotLookedUp(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app], r.v.kv["kv1/x"] = "v", "v"
		a := r.v.login("a", func(t *vaultToken) { t.uses = 2 })
		if g := r.ask(a, "GET", app); g.status != 200 {
			t.Errorf("first use: %+v", g)
		}
		if g := r.ask(a, "GET", "kv1/x"); g.status != 200 {
			t.Errorf("last use: %+v", g)
		}
	})
}

func TestATokensEndEndsItsHits(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app] = "v"
		a := r.v.login("a", func(t *vaultToken) { t.end = time.Now().Add(30 * time.Second) })
		r.ask(a, "GET", app)
		if g := r.ask(a, "GET", app); !g.hit {
			t.Errorf("got %+v", g)
		}
		time.Sleep(31 * time.Second)
		if g := r.ask(a, "GET", app); g.hit || g.status != 403 {
			t.Errorf("after its end: %+v", g)
		}
	})
}

// TestATokenInItsLastSecond: its time left is 0 then, as that of one without an end.
func TestATokenInItsLastSecond(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app] = "v"
		a := r.v.login("a", func(t *vaultToken) { t.end = time.Now().Add(900 * time.Millisecond) })
		for range 3 {
			r.ask(a, "GET", app)
		}
		time.Sleep(time.Second)
		if g := r.ask(a, "GET", app); g.hit || g.status != 403 {
			t.Errorf("after its end: %+v", g)
		}
	})
}

// TestATokenRenewedByOthersEarnsHitsAgain: what the look-up said of its end is not for ever.
func TestATokenRenewedByOthersEarnsHitsAgain(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app] = "v"
		a := r.v.login("a", func(t *vaultToken) { t.end = time.Now().Add(30 * time.Second) })
		r.ask(a, "GET", app)
		r.ask(a, "GET", app)
		r.v.now(func() { r.v.tokens[a].end = time.Now().Add(time.Minute) }) // behind our back
		time.Sleep(31 * time.Second)
		for i, want := range []bool{false, true, true} {
			if g := r.ask(a, "GET", app); g.hit != want || g.status != 200 {
				t.Errorf("read %d after the end that was known: %+v, want hit %v", i, g, want)
			}
		}
		time.Sleep(30 * time.Second)
		if g := r.ask(a, "GET", app); g.hit || g.status != 403 {
			t.Errorf("after its real end: %+v", g)
		}
	})
}

func TestWritesThroughUsEvict(t *testing.T) {
	for _, tt := range []struct{ read, method, path, body string }{
		{app, "PUT", app, `{"value":"new"}`}, {app, "POST", app, `{"value":"new"}`}, {app, "PATCH", app, `{"value":"new"}`},
		{app, "DELETE", app, ""}, {app, "DELETE", "secret/metadata/app", ""}, {app, "PUT", "secret/destroy/app", `{"versions":[1]}`},
		{app, "PUT", "secret/delete/app", `{"versions":[1]}`}, {app, "PUT", "secret/undelete/app", ""}, {app, "DELETE", "sys/mounts/secret", ""},
		{app, "PUT", "sys/policies/acl/x", ""}, {app, "POST", "identity/entity/id/1", ""},
		{app + "?version=1", "DELETE", app, ""}, {"kv1/x", "PUT", "kv1/x", `{"value":"new"}`}, {"kv1/x", "DELETE", "kv1/x", ""},
		{"kv1/auth/token/x", "PUT", "kv1/auth/token/x", `{"value":"new"}`}, {"kv1/auth/token/revoke", "PUT", "kv1/auth/token/revoke", `{"token":"b"}`},
	} {
		t.Run(tt.read+" "+tt.method+" "+tt.path, func(t *testing.T) {
			in(t, nil, func(r *rig) {
				r.v.kv[app], r.v.kv[tt.read], r.v.kv["secret/data/other"] = "old", "old", "old"
				a, b := r.v.login("a"), r.v.login("b")
				for _, who := range []string{a, a, b, b} {
					r.ask(who, "GET", tt.read)
					r.ask(who, "GET", "secret/data/other")
				}
				r.ask(b, tt.method, tt.path, tt.body)
				for _, who := range []string{a, b} {
					if g := r.ask(who, "GET", tt.read); g.hit {
						t.Errorf("%s got a hit after the write: %+v", who, g)
					}
				}
				if strings.HasPrefix(tt.path, "s") && !strings.HasPrefix(tt.path, "sys") {
					if g := r.ask(a, "GET", "secret/data/other"); !g.hit {
						t.Errorf("another secret was dropped, too")
					}
				}
			})
		})
	}
}

func TestAnAnswerOvertakenByAWriteIsNotKept(t *testing.T) {
	in(t, nil, func(r *rig) {
		r.v.kv[app] = "old"
		a := r.v.login("a")
		r.ask(a, "GET", app)
		r.ask(a, "GET", app)
		time.Sleep(11 * time.Second)
		// A slow read: Vault has answered, the answer is on its way.
		f := r.flight(a, app)
		resp := `{"mount_type":"kv","data":{"data":{"value":"old"},"metadata":{"version":1,"created_time":"t"}}}`
		r.ask(a, "PUT", app, `{"value":"new"}`)
		joined := make(chan got)
		go func() { joined <- r.ask(a, "GET", app) }() // after the write: must not wait for the flight
		if g := <-joined; !strings.Contains(g.body, "new") {
			t.Errorf("a read after the write got %+v", g)
		}
		f.Store(http.Header{"Content-Type": {"application/json"}}, []byte(resp))
		for range 2 {
			if g := r.ask(a, "GET", app); !strings.Contains(g.body, "new") {
				t.Errorf("then %+v", g)
			}
		}
	})
}

// flight enters a read and leaves it open.
func (r *rig) flight(token, path string) *Flight {
	served, f := r.Enter(r.t.Context(), nil, &Request{Method: "GET", Path: "/v1/" + path, RawPath: "/v1/" + path, Token: token})
	if served || f == nil {
		r.t.Fatal("no flight")
	}
	return f
}

func TestRevocationThroughUsEndsHits(t *testing.T) {
	for _, tt := range []struct{ who, path, body string }{
		{"a", "auth/token/revoke-self", ""}, {"root", "auth/token/revoke", `{"token":"a"}`},
		{"root", "auth/token/revoke-accessor", `{"accessor":"acc-a"}`}, {"root", "auth/token/revoke-orphan", `{"token":"a"}`},
		{"root", "auth/token/revoke", "token=a"}, {"root", "auth/token/revoke", `{"token":"a"} rest`},
		{"root", "auth/token/revoke", "not read"}, {"root", "auth/token/revoke-accessor", ""}, {"root", "sys/leases/revoke", ""},
		{"root", "auth/token/revoke", `{"token":"parent"}`}, {"root", "sys/leases/revoke-prefix/auth/userpass", ""},
	} {
		t.Run(tt.path+tt.body, func(t *testing.T) {
			in(t, nil, func(r *rig) {
				r.v.kv[app] = "v"
				r.v.login("root")
				r.v.login("parent")
				r.v.login("a", func(t *vaultToken) { t.parent = "parent" })
				r.ask("a", "GET", app)
				if g := r.ask("a", "GET", app); !g.hit {
					t.Fatal("no hit before")
				}
				r.ask(tt.who, "PUT", tt.path, tt.body)
				if g := r.ask("a", "GET", app); g.hit {
					t.Errorf("hit after: %+v", g)
				}
			})
		})
	}
}

func TestWhatIsNeverKept(t *testing.T) {
	in(t, nil, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app], r.v.kv["kv1/x"] = "v", "v"
		for _, path := range []string{app + "?list=true", "secret/metadata/app", "kv1/x?a=b", "ns1/cubbyhole/data/x", "secret/data//app", "secret/data/app/", "secret/data/./app", "nowhere/x"} {
			for range 3 {
				if g := r.ask(a, "GET", path); g.hit {
					t.Errorf("%s: %+v", path, g)
				}
			}
		}
		if len(r.entries) != 0 || len(r.callers) != 0 {
			t.Errorf("%d entries, %d callers are left", len(r.entries), len(r.callers))
		}
	})
}

func TestVaultAwayServesTicketsForATime(t *testing.T) {
	for _, pessimistic := range []bool{false, true} {
		in(t, func(c *Config) { c.TicketLife, c.Pessimistic = 30*time.Second, pessimistic }, func(r *rig) {
			r.v.kv[app] = "v"
			a, b := r.v.login("a"), r.v.login("b")
			r.ask(a, "GET", app)
			r.ask(a, "GET", app)
			r.v.now(func() { r.v.down = 503 })
			for _, tt := range []struct {
				after time.Duration
				hit   bool
			}{{20 * time.Second, true}, {39 * time.Second, !pessimistic}, {time.Second, false}} {
				time.Sleep(tt.after)
				if g := r.ask(a, "GET", app); g.hit != tt.hit {
					t.Errorf("pessimistic %v, after %v: %+v, want hit %v", pessimistic, tt.after, g, tt.hit)
				}
			}
			if g := r.ask(b, "GET", app); g.hit {
				t.Errorf("a caller without a ticket got %+v", g)
			}
		})
	}
}

func TestFreshAsksVault(t *testing.T) {
	in(t, nil, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app] = "old"
		r.ask(a, "GET", app)
		r.ask(a, "GET", app)
		r.v.now(func() { r.v.kv[app] = "new" })
		if g := r.send(&Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: a, Fresh: true}); g.hit || !strings.Contains(g.body, "new") {
			t.Errorf("fresh: %+v", g)
		}
		if g := r.ask(a, "GET", app); !g.hit || !strings.Contains(g.body, "new") {
			t.Errorf("then: %+v", g)
		}
	})
}

// TestANamespaceInTheHeaderIsNoPartOfThePath: Vault's community edition ignores the header,
// so that the two spellings may be two secrets.
func TestANamespaceInTheHeaderIsNoPartOfThePath(t *testing.T) {
	in(t, nil, func(r *rig) {
		a, b := r.v.login("a"), r.v.login("b")
		r.v.kv["kv1/kv1/x"], r.v.kv["kv1/x"] = "right", "wrong"
		inHeader := func(ns string) got {
			return r.send(&Request{Method: "GET", Path: "/v1/kv1/x", RawPath: "/v1/kv1/x", Token: a, Namespace: ns})
		}
		for range 3 {
			inHeader("kv1")
			r.ask(b, "GET", "kv1/kv1/x")
			r.ask(a, "GET", "kv1/kv1/x")
		}
		for _, token := range []string{a, b} {
			if g := r.ask(token, "GET", "kv1/kv1/x"); !g.hit || !strings.Contains(g.body, "right") {
				t.Errorf("%s got %+v", token, g)
			}
		}
		if g := inHeader("kv1"); !g.hit || !strings.Contains(g.body, "wrong") {
			t.Errorf("with the header: %+v", g)
		}
		if g := inHeader("ns2"); g.hit {
			t.Errorf("another namespace hit")
		}
	})
}

// TestAWriteEvictsWhateverItsPathLooksLike: a secret's name, or a namespace that the server
// ignores, may look like an endpoint of its own.
func TestAWriteEvictsWhateverItsPathLooksLike(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		a := r.v.login("a")
		for _, tt := range []struct{ path, ns string }{
			{"secret/data/auth/token/x", ""}, {"secret/data/auth/token/revoke-self", ""}, {"secret/data/sys/mounts", ""},
			{app, "auth/token"}, {app, "x/sys/leases"}, {app, "identity"},
		} {
			r.v.kv[tt.path] = "old"
			for range 3 {
				r.ask(a, "GET", tt.path)
			}
			if g := r.ask(a, "GET", tt.path); !g.hit {
				t.Fatalf("%s: no hit: %+v", tt.path, g)
			}
			r.send(&Request{Method: "PUT", Path: "/v1/" + tt.path, RawPath: "/v1/" + tt.path, Token: a, Namespace: tt.ns, Body: []byte(`{"value":"new"}`)})
			if g := r.ask(a, "GET", tt.path); g.hit || !strings.Contains(g.body, "new") {
				t.Errorf("%s in %q: a write left %+v", tt.path, tt.ns, g)
			}
		}
	})
}

// TestAnAnswerThatWasWaitedForIsNotTooOld: whoever waits for an equal read gets what was
// asked for before he came.
func TestAnAnswerThatWasWaitedForIsNotTooOld(t *testing.T) {
	for _, age := range []time.Duration{0, 10 * time.Second} {
		in(t, func(c *Config) { c.MaxAge, c.MaxAgeOffline = age, 0 }, func(r *rig) {
			r.v.kv[app] = "old"
			a := r.v.login("a")
			r.session(a, "GET", "kv1/other") // looked up by now
			r.v.late = func() { time.Sleep(11 * time.Second) }
			first := make(chan got)
			go func() { first <- r.session(a, "GET", app) }()
			synctest.Wait()
			time.Sleep(time.Second / 2)
			r.v.now(func() { r.v.kv[app] = "new" }) // behind our back
			if g := r.session(a, "GET", app); g.hit || !strings.Contains(g.body, "new") {
				t.Errorf("at most %v old: %+v", age, g)
			}
			if g := <-first; !strings.Contains(g.body, "old") {
				t.Errorf("the first read: %+v", g)
			}
		})
	}
}

func TestOneFlightForManyEqualReads(t *testing.T) {
	in(t, nil, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app], r.v.kv["kv1/x"] = "v", "v"
		r.ask(a, "GET", "kv1/x")
		r.ask(a, "GET", "kv1/x") // now the caller is known
		r.v.hold = func(*http.Request) { time.Sleep(time.Second) }
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if g := r.ask(a, "GET", app); g.status != 200 {
					t.Errorf("got %+v", g)
				}
			})
		}
		all.Wait()
		if n := r.requests(appAPI); n != 1 {
			t.Errorf("vault was asked %d times, want once", n)
		}
	})
}

func TestWhatCannotBeKeptIsNotWaitedFor(t *testing.T) {
	in(t, func(c *Config) { c.Static = false }, func(r *rig) {
		a := r.v.login("a")
		r.v.kv[app] = "v"
		r.ask(a, "PUT", "auth/token/create", "{}")
		r.v.hold = func(*http.Request) { time.Sleep(time.Second) }
		began := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { r.ask(a, "GET", app) })
		}
		all.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("100 reads took %v: they waited for each other", took)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	in(t, func(c *Config) { c.MaxBytes = 64 << 10 }, func(r *rig) {
		a := r.v.login("a")
		for i := range 500 {
			r.v.kv[fmt.Sprintf("kv1/%d", i)] = strings.Repeat("x", 100)
			r.ask(a, "GET", fmt.Sprintf("kv1/%d", i))
			r.ask(a, "GET", "kv1/0") // always in use
			if r.size > 64<<10 {
				t.Fatalf("%d bytes are held", r.size)
			}
		}
		if g := r.ask(a, "GET", "kv1/0"); !g.hit {
			t.Error("what was used most was dropped")
		}
		if n := len(r.entries); n < 20 || n > 200 {
			t.Errorf("%d entries are left", n)
		}
		_ = r.Clear(ClearPath, "/v1/kv1/", "")
		if r.size != 0 || len(r.entries)+len(r.values)+len(r.groups)+r.order.Len() != 0 {
			t.Errorf("after clearing all: %d bytes, %d entries, %d values, %d groups", r.size, len(r.entries), len(r.values), len(r.groups))
		}
	})
}

// TestAWriteEvictsWhateverNamespaceTheReaderSaid: Vault's community edition ignores it.
func TestAWriteEvictsWhateverNamespaceTheReaderSaid(t *testing.T) {
	in(t, func(c *Config) { c.MaxAge = time.Hour }, func(r *rig) {
		r.v.kv[app], r.v.kv["ns/"+app] = "old", "old"
		a := r.v.login("a")
		read := func() got {
			return r.send(&Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Namespace: "ns", Token: a})
		}
		for range 3 {
			read()
		}
		if g := read(); !g.hit {
			t.Fatalf("no hit: %+v", g)
		}
		r.ask(a, "PUT", app, "{}")
		if g := read(); g.hit {
			t.Errorf("a write without the namespace left %+v", g)
		}
	})
}
