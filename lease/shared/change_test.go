package shared

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// household is a Cache with one of each thing that can become stale, by a letter:
//
//	S lease of a given session, not an orphan    N lease of a session that logged in itself
//	c its child's creation   C the child's lease  o its orphan's creation   O the orphan's lease
//	l a shared login         L its lease         m a shared login in a namespace
//	t k tickets of a stranger with a parent      p ticket of a stranger without one
//	z q n answers on their way: a lease, a KV secret, a token
type household struct {
	*rig
	reads   map[string]*Request
	flights map[string]*Flight
	tokens  *strings.Replacer // %S, %C, %O, %L: the tokens; lease ids are %Sid and so on
}

const leaseAnswer = `{"lease_id":"db/creds/z/1","renewable":true,"lease_duration":3600}`

var onTheirWay = map[string]string{
	"z": leaseAnswer,
	"q": `{"mount_type":"kv","data":{"data":{"value":"v"},"metadata":{"version":1,"created_time":"t"}}}`,
	"n": `{"auth":{"client_token":"late","accessor":"acc-late","renewable":true,"lease_duration":3600,"orphan":true}}`,
}

// newHousehold makes all of it. path is what will be changed: no mark of it may be one of
// an answer on its way by chance.
func newHousehold(r *rig, path string) *household {
	slot := func(kind byte, name string) uint64 { return r.marks.slot(kind, name) % uint64(len(r.marks.writes)) }
	path = strings.TrimSuffix(path, "/")
	for q := lastSegment(path); slot('f', firstSegment(path)) == slot('l', "q") || q != "q" && slot('l', q) == slot('l', "q"); {
		r.marks.seed = maphash.MakeSeed()
	}
	h := &household{rig: r, reads: map[string]*Request{}, flights: map[string]*Flight{}}
	r.v.kv[app], r.v.kv["kv1/x"] = "v", "v"
	r.v.login("given", func(t *vaultToken) { t.parent = "unknown" })
	r.v.login("own")
	r.v.login("stranger", func(t *vaultToken) { t.parent = "unknown" })
	r.v.login("free")
	tokens := []string{"%S", "given"}
	sessions := map[string]*secret.Token{"given": {Accessor: "acc-given"}, "own": {Own: true}}
	keep := func(letter, token, method, path, body string) got {
		req := &Request{Method: method, Path: "/v1/" + path, RawPath: "/v1/" + path, Token: token, Session: sessions[token]}
		if body != "" {
			req.Body = []byte(body)
		}
		h.reads[letter] = req
		r.send(req)
		g := r.send(req)
		if id, _ := g.lease(); id != "" {
			tokens = append([]string{"%" + letter + "id", id}, tokens...)
		}
		return g
	}
	keep("S", "given", "GET", "db/creds/x", "")
	keep("N", "own", "GET", "db/creds/x", "")
	child, orphan := keep("c", "given", "PUT", "auth/token/create", "{}").made(), keep("o", "given", "PUT", "auth/token/create-orphan", "{}").made()
	login := keep("l", "", "PUT", "auth/userpass/login/u", `{"password":"p"}`).made()
	keep("m", "", "PUT", "ns1/auth/app/role/login", `{"role_id":"r"}`)
	keep("C", child, "GET", "db/creds/x", "")
	keep("O", orphan, "GET", "db/creds/x", "")
	keep("L", login, "GET", "db/creds/y", "")
	keep("t", "stranger", "GET", app, "")
	keep("k", "stranger", "GET", "kv1/x", "")
	keep("p", "free", "GET", app, "")
	for letter, f := range map[string]*Request{"z": {Token: "own"}, "q": {Token: "free"}, "n": {Token: "own", Method: "PUT", Body: []byte("{}")}} {
		f.Method = max(f.Method, "GET")
		f.Path = map[string]string{"z": "/v1/db/creds/z", "q": "/v1/secret/data/q", "n": "/v1/auth/token/create-orphan"}[letter]
		f.RawPath, f.Session = f.Path, sessions[f.Token]
		h.reads[letter] = f
		_, h.flights[letter] = r.Enter(r.t.Context(), nil, f)
	}
	h.tokens = strings.NewReplacer(append(tokens, "%C", child, "%O", orphan, "%L", login)...)
	if left := h.left(""); left != "SNcCoOlLmtkp" {
		r.t.Fatalf("only %s are hits to begin with", left)
	}
	return h
}

// left are the letters that are served, those of flights only when asked for.
func (h *household) left(flights string) (left string) {
	for _, letter := range "SNcCoOlLmtkp" + flights {
		if h.Serve(discardWriter{}, h.reads[string(letter)]) {
			left += string(letter)
		}
	}
	return left
}

// waits reports whether an equal request would be given the answer of an open flight.
func (h *household) waits(letter string) bool {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	_, f := h.Enter(ctx, discardWriter{}, h.reads[letter])
	f.Close()
	return time.Since(began) > 0
}

// change makes a request that changes something; nobody but Vault's answer matters.
func (h *household) change(method, path, ns, token, body string, status int) {
	r := &Request{Method: method, Path: "/v1/" + h.tokens.Replace(path), Namespace: ns, Token: token, Body: []byte(h.tokens.Replace(body))}
	h.Change(r).End(status, nil)
}

const (
	all     = "SNcCoOlLmtkpzqn"
	tickets = "tkpq"
	doubted = "ScCotkzqn" // what may hang on a token of which we know nothing, and all that is on its way
)

var changes = []struct {
	what, body, taken string
	alone             string // besides what is taken: on its way, but waited for by nobody
}{
	// Tokens.
	{"POST auth/token/revoke", `{"token":"%S"}`, doubted, ""},
	{"POST auth/token/revoke", `{"token":"%C"}`, "cCtkzqn", ""},
	{"POST auth/token/revoke", `{"token":"%O"}`, "oOtkzqn", ""},
	{"POST auth/token/revoke", `{"token":"%L"}`, "lLtkzqn", ""},
	{"POST auth/token/revoke", `{"token":"nobody's"}`, doubted, ""},
	{"POST auth/token/revoke", `{"token":"stranger"}`, doubted, ""},
	{"POST auth/token/revoke", `{"token":"own"}`, "Ntkzqn", ""},
	{"POST auth/token/revoke", `{"token":"free"}`, doubted + "p", ""},
	{"POST auth/token/revoke", "token=%C", "cCtkzqn", ""},
	{"POST auth/token/revoke", `{"token":7}`, all, ""},
	{"POST auth/token/revoke-accessor", `{"accessor":"acc-given"}`, doubted, ""},
	{"POST auth/token/revoke-accessor", `{"accessor":"acc-%C"}`, "cCtkzqn", ""},
	{"POST auth/token/revoke-accessor", `{"accessor":"acc-free"}`, doubted + "p", ""},
	{"POST auth/token/revoke-self", "", "Ntkzqn", ""},
	{"POST auth/token/revoke-orphan", `{"token":"%S"}`, "Scozqn", ""},
	{"POST auth/token/revoke-orphan", `{"token":"%C"}`, "cCzqn", ""},
	{"POST auth/token/revoke-orphan", `{"token":"nobody's"}`, "zqn", ""},
	{"POST auth/token/roles/x", "", "", ""},
	// Leases.
	{"PUT sys/leases/revoke", `{"lease_id":"%Sid"}`, "Szqn", ""},
	{"PUT sys/leases/revoke/%Cid", "", "Czqn", ""},
	{"PUT sys/leases/revoke//%Cid", "", "Czqn", ""},
	{"PUT sys/revoke", `lease_id=%Lid`, "Lzqn", ""},
	{"PUT sys/leases/revoke", ``, all, ""},
	{"PUT sys/leases/revoke", `{"lease_id":"other/lease"}`, "zqn", ""},
	{"PUT sys/leases/revoke", `{"lease_id":"auth/userpass/login/u/h1"}`, doubted + "lLNp", ""},
	{"PUT sys/leases/revoke/auth/userpass/login/u/h1", "", doubted + "lLNp", ""},
	{"PUT sys/leases/revoke/auth/token/create/h1", "", doubted + "ONp", ""},
	{"PUT sys/leases/revoke/auth/app/role/login/h1", "", doubted + "mNp", ""},
	{"PUT sys/leases/revoke-prefix/db/creds/x", "", "SNCOzqn", ""},
	{"PUT sys/leases/revoke-prefix//db/creds/x", "", "SNCOzqn", ""},
	{"PUT sys/leases/revoke-prefix/db/", "", "SNCOLzqn", ""},
	{"PUT sys/leases/revoke-force/db/creds/y", "", "Lzqn", ""},
	{"PUT sys/revoke-prefix/db", "", "SNCOLzqn", ""},
	{"PUT sys/revoke-force/db", "", "SNCOLzqn", ""},
	{"PUT sys/leases/revoke-prefix/auth/token/create", "", doubted + "ONp", ""},
	{"PUT sys/leases/revoke-prefix/auth/userpass/", "", doubted + "lLNp", ""},
	{"PUT sys/leases/revoke-prefix/auth", "", all, ""},
	{"PUT sys/leases/revoke-prefix/auth/ldap", "", doubted + "Np", ""},
	{"PUT sys/leases/tidy", "", "", ""},
	// Mounts.
	{"POST sys/mounts/db", "", tickets, "zn"},
	{"DELETE sys/mounts/db", "", "SNCOLzqn" + tickets, ""},
	{"POST sys/mounts/secret/tune", "", tickets, "zn"},
	{"DELETE sys/auth/userpass", "", doubted + "lLNp", ""},
	{"DELETE ns1/sys/auth/app/role", "", doubted + "mNp", ""},
	{"POST sys/auth/userpass/tune", "", tickets + "l", "zn"},
	{"POST sys/remount", `{"from":"db","to":"db2"}`, "SNCOLzqn" + tickets, ""},
	{"POST sys/remount", `{"from":"/auth/userpass/","to":"auth/other"}`, doubted + "lLNp", ""},
	{"POST sys/remount", ``, all, ""},
	// Rights.
	{"PUT sys/policy/p", "", tickets, "zn"}, {"DELETE sys/policies/acl/p", "", tickets, "zn"}, {"POST identity/group", "", tickets, "zn"},
	{"POST ns1/identity/entity/id/1", "", tickets, "zn"}, {"PUT sys/seal", "", tickets, "zn"}, {"PUT sys/step-down", "", tickets, "zn"},
	{"POST sys/quotas/rate-limit/x", "", tickets, "zn"},
	// All that Vault knows.
	{"POST sys/storage/raft/snapshot", "", all, ""}, {"DELETE sys/raw/core/x", "", all, ""}, {"DELETE sys/namespaces/ns1", "", all, ""},
	{"POST sys/replication/dr/secondary/disable", "", all, ""},
	// Secrets, whatever their names.
	{"PUT secret/data/app", "", "tp", ""}, {"PATCH secret/data/app", "", "tp", ""}, {"DELETE secret/data/app/", "", "tp", ""}, {"PUT kv1/x", "", "k", ""},
	{"PUT secret/undelete/app", "", "tp", ""}, {"PUT secret/destroy/app", "", "tp", ""}, {"DELETE secret/metadata/app", "", "tp", ""},
	{"PUT secret/delete/app", "", "tp", ""}, {"PUT secret/data/q", "", "q", ""}, {"DELETE secret/metadata/q", "", "q", ""},
	{"PUT secret/data/auth/token/x", "", "", ""}, {"PUT secret/data/sys/x", "", "", ""}, {"PUT db/config/other", "", "", "z"}, {"GET secret/data/app", "", "", ""}, {"LIST secret/metadata/app", "", "", ""},
	// Credentials.
	{"POST auth/userpass/users/u/password", `{"password":"n"}`, "lq", "zn"}, {"DELETE auth/userpass/users/u", "", "lq", "zn"},
	{"POST ns1/auth/app/role/role/r/secret-id/destroy", "", "mq", "zn"}, {"POST auth/userpass/login/other", "", "", ""},
}

// TestWhatAChangeThroughUsTakes: no more and no less than what may be stale, of what is
// kept, of what is on its way, and of what others wait for.
func TestWhatAChangeThroughUsTakes(t *testing.T) {
	for _, tt := range changes {
		t.Run(tt.what+" "+tt.body, func(t *testing.T) {
			in(t, func(c *Config) { c.ShareLogins, c.MaxAge = true, time.Hour }, func(r *rig) {
				method, path, _ := strings.Cut(tt.what, " ")
				h := newHousehold(r, path)
				h.change(method, path, "", "own", tt.body, 204)
				for _, letter := range "zqn" {
					if l := string(letter); strings.Contains(tt.taken+tt.alone, l) && h.waits(l) {
						t.Errorf("the flight %s is waited for", l)
					}
				}
				for letter, f := range h.flights {
					f.Store(http.Header{"Content-Type": {"application/json"}}, []byte(onTheirWay[letter]))
				}
				h.ask("free", "GET", "secret/data/q") // to be looked up, if it is there
				if left, want := h.left("zqn"), without(all, tt.taken); left != want {
					t.Errorf("left are %s, want %s", left, want)
				}
			})
		})
	}
}

// without is what is left of letters.
func without(letters, taken string) string {
	return strings.Map(func(l rune) rune {
		if strings.ContainsRune(taken, l) {
			return -1
		}
		return l
	}, letters)
}

// TestAChangeOfUncertainOutcome: Vault failed half way, or nobody knows. Nothing that may
// be stale is served, but leases that may live are still renewed. What Vault refused, also
// because it did not know who asks, takes nothing.
func TestAChangeOfUncertainOutcome(t *testing.T) {
	for _, tt := range []struct {
		token   string
		status  int
		refused bool
	}{
		{"own", 0, false}, {"own", 500, false}, {"own", 503, false}, {"own", 400, false}, {"own", 307, false},
		{"own", 304, true}, {"own", 403, true}, {"own", 404, true}, {"own", 405, true}, {"own", 429, true}, {"", 400, true}, {"", 403, true},
	} {
		for _, change := range []struct{ what, body, taken string }{
			{"POST auth/token/revoke", `{"token":"%S"}`, "ScCotk"}, {"POST auth/token/revoke-orphan", `{"token":"%S"}`, "ScCo"}, {"POST auth/token/revoke", "", "SNcCoOlLmtkp"},
			{"PUT sys/leases/revoke/%Sid", "", "S"}, {"PUT sys/leases/revoke-prefix/db/creds/x", "", "SNCO"}, {"DELETE sys/mounts/db", "", "SNCOLtkp"},
			{"PUT secret/data/app", "", "tp"}, {"PUT sys/policy/p", "", "tkp"},
		} {
			t.Run(fmt.Sprint(tt, change.what, change.body), func(t *testing.T) {
				in(t, func(c *Config) { c.ShareLogins, c.MaxAge = true, time.Hour }, func(r *rig) {
					method, path, _ := strings.Cut(change.what, " ")
					h := newHousehold(r, path)
					h.change(method, path, "", tt.token, change.body, tt.status)
					taken := change.taken
					if tt.refused {
						taken = ""
					}
					if left, want := h.left(""), without("SNcCoOlLmtkp", taken); left != want {
						t.Errorf("left are %s, want %s", left, want)
					}
					for _, f := range h.flights {
						f.Close()
					}
					time.Sleep(50 * time.Minute)
					synctest.Wait()
					if n := h.requests("PUT /v1/sys/leases/renew"); n != 5 {
						t.Errorf("%d leases were renewed, want all 5", n)
					}
					if n := h.requests("PUT /v1/auth/token/renew-self"); n != 4 {
						t.Errorf("%d tokens were renewed, want all 4", n)
					}
				})
			})
		}
	}
}

// TestWhatAChangeTakesAfterARestart: who is whose child, came from where and is known by
// which accessor is known again.
func TestWhatAChangeTakesAfterARestart(t *testing.T) {
	for _, tt := range changes {
		t.Run(tt.what+" "+tt.body, func(t *testing.T) {
			var h *household
			method, path, _ := strings.Cut(tt.what, " ")
			lives(t, func(c *Config) { c.ShareLogins, c.MaxAge = true, time.Hour }, func(r *rig) {
				h = newHousehold(r, path)
				for _, f := range h.flights {
					f.Close()
				}
			}, func(r *rig) {
				h.rig = r
				h.change(method, path, "", "own", tt.body, 204)
			}, func(r *rig) { // and what was taken stays so
				h.rig = r
				if left, want := h.left(""), without(all, tt.taken+"zqn"); left != want {
					t.Errorf("left are %s, want %s", left, want)
				}
			})
		})
	}
}
