package proxy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestAHitIsWhatVaultWouldSay: callers of different rights read, write, delete, undelete,
// revoke, lose and get rights, mounts come and go, all through the proxy, in random order
// before a real Vault. So no time bound excuses anything: each hit must be the very answer
// Vault gives at that moment, and none may go to a token that is never to be served.
func TestAHitIsWhatVaultWouldSay(t *testing.T) {
	v := vaulttest.Start(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, v, seed)
			for range 500 {
				if w.roll(5) == 0 {
					w.change()
				}
				w.read()
			}
			if w.hits < 60 {
				t.Errorf("only %d hits: nothing was tested", w.hits)
			}
		})
	}
}

// world is a Vault behind a proxy, and who lives there.
type world struct {
	*rig
	t        *testing.T
	v        *vaulttest.Server
	rng      *rand.Rand
	straight *http.Client
	callers  map[string]*person
	mounts   [2]string // version 2, version 1
	mine     string    // part of every name, so that runs do not meet
	serial   int
	hits     int
}

// person is a caller: how the token is made, and whether it may ever get a hit.
type person struct {
	make  func() string
	never bool
	token string
	ends  time.Time // of its life; zero = later than the test
}

func newWorld(t *testing.T, v *vaulttest.Server, seed uint64) *world {
	w := &world{t: t, v: v, rng: rand.New(rand.NewPCG(seed, 11)), mine: fmt.Sprint("run", seed), straight: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(w.straight.CloseIdleConnections)
	w.rig = start(t, v.Addr, func(c *Config) {
		c.Cache = &Cache{StaticSecrets: true, MaxAge: time.Hour, TicketLife: time.Hour}
	})
	w.mounts = [2]string{w.mine + "two", w.mine + "one"}
	for i := range w.mounts {
		w.mount(i)
	}
	w.policy("reader", 3)
	w.policy("narrow", 1)
	w.root("POST", "sys/auth/"+w.mine, `{"type":"userpass"}`)
	w.root("POST", "auth/"+w.mine+"/users/u", `{"password":"p","token_policies":"`+w.mine+`reader"}`)
	w.root("POST", "auth/token/roles/"+w.mine, `{"allowed_policies":"`+w.mine+`reader","orphan":true,"renewable":true}`)
	w.root("POST", "auth/token/roles/"+w.mine+"here", `{"allowed_policies":"`+w.mine+`reader","token_bound_cidrs":"127.0.0.0/8"}`)
	w.root("POST", "auth/token/roles/"+w.mine+"away", `{"allowed_policies":"`+w.mine+`reader","token_bound_cidrs":"10.0.0.0/8"}`)
	create := func(by, path, more string) func() string {
		return func() string {
			w.serial++ // else the creation itself is shared
			who := v.RootToken
			if by != "" {
				who = w.callers[by].token
			}
			return token(w.ask(t, "POST", "/v1/auth/token/"+path, fmt.Sprintf(`{"meta":{"n":"%d"}%s}`, w.serial, more), "X-Vault-Token", who))
		}
	}
	reader, narrow := `,"policies":["`+w.mine+`reader"]`, `,"policies":["`+w.mine+`narrow"]`
	w.callers = map[string]*person{
		"root":   {make: func() string { return v.RootToken }},
		"reader": {make: create("", "create", reader)},
		"narrow": {make: create("", "create", narrow)},
		"child":  {make: create("reader", "create", reader)},
		"kin": {make: func() string { // nobody told the cache whose child it is
			return token(ask(t, w.straight, "POST", v.Addr+"/v1/auth/token/create", "{"+reader[1:]+"}", "X-Vault-Token", w.callers["reader"].token))
		}},
		"role":    {make: create("", "create/"+w.mine, "")},
		"orphan":  {make: create("", "create-orphan", reader)},
		"batch":   {make: create("", "create", reader+`,"type":"batch"`)},
		"user":    {make: func() string { return token(w.root("POST", "auth/"+w.mine+"/login/u", `{"password":"p"}`)) }},
		"short":   {make: create("", "create", reader+`,"ttl":"1s"`)},
		"limited": {make: create("", "create", reader+`,"num_uses":40`), never: true},
		"here":    {make: create("", "create/"+w.mine+"here", ""), never: true},
		"away":    {make: create("", "create/"+w.mine+"away", ""), never: true},
		"blind":   {make: create("", "create", reader+`,"no_default_policy":true`), never: true},
		"nobody":  {make: func() string { return "" }, never: true},
		"foreign": {make: func() string { return "hvs.nobodys" }, never: true},
	}
	w.born("reader")
	for _, name := range slices.Sorted(maps.Keys(w.callers)) {
		w.born(name)
	}
	return w
}

func (w *world) roll(n int) int { return w.rng.IntN(n) }

// root asks as root, through the proxy.
func (w *world) root(method, path, body string) answer {
	return w.ask(w.t, method, "/v1/"+path, body, "X-Vault-Token", w.v.RootToken)
}

func (w *world) born(name string) {
	p := w.callers[name]
	p.token, p.ends = p.make(), time.Time{}
	if name == "short" {
		p.ends = time.Now().Add(time.Second)
	}
}

// mount mounts KV, and waits for version 2 to have set itself up.
func (w *world) mount(i int) {
	w.root("POST", "sys/mounts/"+w.mounts[i], fmt.Sprintf(`{"type":"kv","options":{"version":"%d"}}`, 2-i))
	for began := time.Now(); i == 0 && w.root("GET", w.mounts[0]+"/config", "").status != 200; {
		if time.Since(began) > time.Minute {
			w.t.Fatal("the mount never works")
		}
	}
}

// policy gives the right to read the first n secrets of each mount.
func (w *world) policy(name string, n int) {
	rules := ""
	for i := range n {
		rules += fmt.Sprintf("path \"%s/data/%c\" { capabilities = [\"read\"] }\npath \"%s/%c\" { capabilities = [\"read\"] }\n", w.mounts[0], 'a'+i, w.mounts[1], 'a'+i)
	}
	body, _ := json.Marshal(map[string]string{"policy": rules})
	path := []string{"sys/policies/acl/", "sys/policy/"}[w.roll(2)]
	w.root("PUT", path+w.mine+name, string(body))
}

// change does one thing that may make something stale.
func (w *world) change() {
	w.serial++
	two, one, name := w.mounts[0], w.mounts[1], string(rune('a'+w.roll(3)))
	value := fmt.Sprintf(`{"data":{"v":"%d"}}`, w.serial)
	versions := fmt.Sprintf(`{"versions":[%d,%d]}`, 1+w.roll(4), 1+w.roll(4))
	all := slices.Sorted(maps.Keys(w.callers))
	who, kind := all[w.roll(len(all))], w.roll(30)
	switch kind {
	case 17, 18, 20:
		who = "narrow"
	case 23, 24:
		who = "user"
	case 22:
		who = "root"
		w.root("PUT", one+"/a", `{"v":"moves"}`)
	case 25:
		who = "short"
	case 26, 27:
		who = "reader"
		defer w.visit("kin")
		w.visit("kin")
	}
	w.visit(who) // so that there is something to become stale
	defer w.visit(who)
	switch kind {
	case 0, 1, 2:
		w.root([]string{"PUT", "POST"}[w.roll(2)], two+"/data/"+name, value)
	case 3:
		w.ask(w.t, "PATCH", "/v1/"+two+"/data/"+name, value, "X-Vault-Token", w.v.RootToken, "Content-Type", "application/merge-patch+json")
	case 4, 5:
		w.root("DELETE", two+"/data/"+name, "")
	case 6:
		w.root("PUT", two+"/delete/"+name, versions)
	case 7, 8:
		w.root("PUT", two+"/undelete/"+name, versions)
	case 9:
		w.root("PUT", two+"/destroy/"+name, versions)
	case 10:
		w.root("PUT", two+"/metadata/"+name, fmt.Sprintf(`{"max_versions":%d,"custom_metadata":{"n":"%d"}}`, 1+w.roll(4), w.serial))
	case 11:
		w.root("DELETE", two+"/metadata/"+name, "")
	case 12, 13, 14:
		w.root("PUT", one+"/"+name, fmt.Sprintf(`{"v":"%d"}`, w.serial))
	case 15:
		w.root("DELETE", one+"/"+name, "")
	case 16: // the community edition ignores a namespace
		w.ask(w.t, "PUT", "/v1/"+two+"/data/"+name, value, "X-Vault-Token", w.v.RootToken, "X-Vault-Namespace", "ns")
	case 17, 18:
		w.policy("narrow", w.roll(4))
	case 19:
		w.policy("reader", 1+w.roll(3))
	case 20:
		w.root("DELETE", "sys/policies/acl/"+w.mine+"narrow", "")
	case 21:
		i := w.roll(2)
		w.root("DELETE", "sys/mounts/"+w.mounts[i], "")
		w.mount(i)
	case 22:
		from, to := w.mounts[1], w.mine+fmt.Sprint("moved", w.serial)
		w.root("POST", "sys/remount", fmt.Sprintf(`{"from":%q,"to":%q}`, from, to))
		for began := time.Now(); w.root("GET", "sys/mounts/"+to, "").status != 200; {
			if time.Since(began) > time.Minute {
				w.t.Fatal("the mount never moves")
			}
		}
		w.compare(who, "/v1/"+from+"/a")
		w.mounts[1] = to
		w.policy("reader", 3)
	case 23, 24:
		entity := w.root("GET", "identity/entity/name/"+w.entity(), "")
		if entity.status == 200 {
			w.root("POST", "identity/entity/name/"+w.entity(), fmt.Sprintf(`{"disabled":%t}`, w.roll(2) == 0))
		}
	case 25:
	default:
		w.revoke(who)
	}
}

// entity is the name of the entity of the user.
func (w *world) entity() string {
	var self struct {
		Data struct {
			EntityID string `json:"entity_id"`
		}
	}
	a := ask(w.t, w.straight, "POST", w.v.Addr+"/v1/auth/token/lookup", fmt.Sprintf(`{"token":%q}`, w.callers["user"].token), "X-Vault-Token", w.v.RootToken)
	_ = json.Unmarshal([]byte(a.body), &self)
	var entity struct{ Data struct{ Name string } }
	_ = json.Unmarshal([]byte(w.root("GET", "identity/entity/id/"+self.Data.EntityID, "").body), &entity)
	return entity.Data.Name
}

// revoke ends a caller's token one way or another, or makes it anew.
func (w *world) revoke(name string) {
	p := w.callers[name]
	if name == "root" || p.token == "" {
		return
	}
	body := fmt.Sprintf(`{"token":%q}`, p.token)
	switch w.roll(8) {
	case 0:
		w.root("POST", "auth/token/revoke", body)
	case 1:
		w.ask(w.t, "POST", "/v1/auth/token/revoke-self", "", "X-Vault-Token", p.token)
	case 2:
		w.root("POST", "auth/token/revoke-orphan", body)
	case 3:
		var found struct{ Data struct{ Accessor string } }
		_ = json.Unmarshal([]byte(ask(w.t, w.straight, "POST", w.v.Addr+"/v1/auth/token/lookup", body, "X-Vault-Token", w.v.RootToken).body), &found)
		w.root("POST", "auth/token/revoke-accessor", fmt.Sprintf(`{"accessor":%q}`, found.Data.Accessor))
	case 4:
		w.root("PUT", "sys/leases/revoke-prefix/auth/"+w.mine+"/login", "")
	case 5:
		w.root("DELETE", "sys/auth/"+w.mine, "")
		w.root("POST", "sys/auth/"+w.mine, `{"type":"userpass"}`)
		w.root("POST", "auth/"+w.mine+"/users/u", `{"password":"p","token_policies":"`+w.mine+`reader"}`)
	default:
		w.born(name)
	}
}

// read reads a secret as somebody, a few times.
func (w *world) read() {
	all := slices.Sorted(maps.Keys(w.callers))
	name := all[w.roll(len(all))]
	path := fmt.Sprintf("/v1/%s/data/%c", w.mounts[0], 'a'+w.roll(3))
	switch w.roll(4) {
	case 0:
		path = fmt.Sprintf("/v1/%s/%c", w.mounts[1], 'a'+w.roll(3))
	case 1:
		path += fmt.Sprintf("?version=%d", w.roll(4))
	}
	for range 3 {
		if a := w.compare(name, path); strings.Contains(a.body, "invalid token") && w.roll(4) == 0 {
			w.born(name)
			return
		}
	}
}

// visit reads one secret of each mount twice.
func (w *world) visit(name string) {
	for range 2 {
		w.compare(name, "/v1/"+w.mounts[0]+"/data/a")
		w.compare(name, "/v1/"+w.mounts[1]+"/a")
	}
}

// compare reads a secret, and asks Vault itself after a hit.
func (w *world) compare(name, path string) answer {
	p := w.callers[name]
	header := []string{"X-Vault-Token", p.token}
	if w.roll(8) == 0 {
		header = append(header, "X-Vault-Namespace", "ns")
	}
	got := w.ask(w.t, "GET", path, "", header...)
	if got.header.Get("X-Cache") != "HIT" {
		return got
	}
	w.hits++
	want := ask(w.t, w.straight, "GET", w.v.Addr+path, "", header...)
	if !p.ends.IsZero() && time.Since(p.ends) > -time.Second && time.Since(p.ends) < time.Second {
		return got // between the two it may have ended, and Vault counts its life in seconds
	}
	if p.never {
		w.t.Errorf("a hit for %s at %s", name, path)
	}
	if want.status != got.status || !reflect.DeepEqual(data(want), data(got)) {
		w.t.Errorf("%s at %s gets the hit\n%.300s\nand vault says %d\n%.300s", name, path, got.body, want.status, want.body)
	}
	return got
}

func data(a answer) any {
	var whole map[string]any
	_ = json.Unmarshal([]byte(a.body), &whole)
	return whole["data"]
}
