package shared

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// change is one value of a secret, or one state of a right, from a moment on.
type change struct {
	at    time.Time
	value string
}

// truth is what Vault knew when.
type truth struct {
	sync.Mutex
	values map[string][]change // of each path; "" = absent
	rights map[string][]change // of caller and path; "" = denied
	floor  map[string]int      // the first value a read that begins now may see
	dead   map[string]bool     // tokens revoked through us
	barred map[string]bool     // of caller and path: taken away through us
	ends   time.Time           // of the token of "short"
	serial int
}

var servedValue = regexp.MustCompile(`"value":"([^"]*)"`)

const (
	propertyAge    = 10 * time.Second
	propertyTicket = 30 * time.Second
)

// TestNobodyGetsWhatVaultWouldRefuse runs callers of different rights against each
// other, with slow answers, with changes through us and behind our back. No hit may
// show a value older than MaxAge or than a write that ended before, nor go to a
// caller who had no right to it within TicketLife, whose token was revoked through
// us, or whose token may never be served.
func TestNobodyGetsWhatVaultWouldRefuse(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in(t, func(c *Config) { c.MaxAge, c.TicketLife, c.MaxBytes = propertyAge, propertyTicket, 30<<10 }, func(r *rig) {
				property(r, rand.New(rand.NewPCG(seed, 7)))
			})
		})
	}
}

func property(r *rig, rng *rand.Rand) {
	var rngMu sync.Mutex
	roll := func(n int) int { rngMu.Lock(); defer rngMu.Unlock(); return rng.IntN(n) }
	tr := &truth{values: map[string][]change{}, rights: map[string][]change{}, floor: map[string]int{}, dead: map[string]bool{}, barred: map[string]bool{}}
	paths := []string{"secret/data/a", "secret/data/b/c", "kv1/a", "kv1/b"}
	callers := []string{"root", "one", "two", "child", "short", "limited", "bound", "blind", "nobody", ""}
	for _, who := range callers[:3] {
		r.v.login(who)
	}
	tr.ends = time.Now().Add(time.Duration(20+roll(60)) * time.Second)
	r.v.login("short", func(t *vaultToken) { t.end = tr.ends })
	r.v.login("child", func(t *vaultToken) { t.parent = "one" })
	r.v.login("limited", func(t *vaultToken) { t.uses = 1000 })
	r.v.login("bound", func(t *vaultToken) { t.cidrs = []string{"10.0.0.0/8"} })
	r.v.login("blind", func(t *vaultToken) { t.noSelf = true })
	for _, path := range paths {
		tr.set(r, path)
	}
	r.v.late = func() {
		if roll(3) == 0 {
			time.Sleep(time.Duration(roll(3000)) * time.Millisecond)
		}
	}
	r.v.hold = func(*http.Request) { r.v.late() }
	r.v.permitted = func(who, path, state string) {
		tr.Lock()
		defer tr.Unlock()
		tr.rights[who+path] = append(tr.rights[who+path], change{time.Now(), state})
	}
	r.v.undeleted = func(path, value string) {
		tr.Lock()
		defer tr.Unlock()
		tr.values[path] = append(tr.values[path], change{time.Now(), value})
	}
	var all sync.WaitGroup
	for range 1500 {
		who, path := callers[roll(len(callers))], paths[roll(len(paths))]
		switch roll(100) {
		case 0: // through us
			all.Go(func() { tr.write(r, "root", path, "PUT") })
		case 1:
			all.Go(func() { tr.write(r, "root", path, "DELETE") })
		case 2: // behind our back
			tr.set(r, path)
		case 3:
			tr.allow(r, who, path, roll(2) == 0)
		case 4:
			if how := roll(20); how < 4 && who != "root" && who != "" {
				tr.revoke(r, who, how)
			}
		case 5:
			if may := roll(2) == 0; roll(4) == 0 {
				all.Go(func() { tr.policy(r, who, path, may) })
			}
		case 6:
			all.Go(func() { tr.write(r, "root", strings.Replace(path, "/data/", "/metadata/", 1), "DELETE") })
		case 7:
			all.Go(func() { tr.undelete(r, path) })
		case 8:
			if roll(8) == 0 {
				all.Go(func() { tr.unmount(r, paths) })
			}
		default:
			query, ns := "", ""
			switch roll(8) {
			case 0:
				query = "version=1"
			case 1:
				ns = "ns"
			}
			all.Go(func() { tr.read(r, who, path, query, ns) })
		}
		time.Sleep(time.Duration(roll(200)) * time.Millisecond)
	}
	all.Wait()
	if hits := r.Stats().Hits; hits < 20 {
		r.t.Errorf("only %d hits: nothing was tested", hits)
	}
}

// set changes a value behind our back.
func (tr *truth) set(r *rig, path string) {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	tr.Lock()
	defer tr.Unlock()
	tr.serial++
	r.v.kv[path] = fmt.Sprint(tr.serial)
	tr.values[path] = append(tr.values[path], change{time.Now(), r.v.kv[path]})
}

// write changes a value through us. What it wrote is the truth from an unknown moment
// until its end on; so only what was superseded before its begin is known to be stale.
func (tr *truth) write(r *rig, who, path, method string) {
	tr.Lock()
	tr.serial++
	value := fmt.Sprint("w", tr.serial)
	if method == "DELETE" {
		value = ""
	}
	tr.Unlock()
	g := r.ask(who, method, path, fmt.Sprintf(`{"value":%q}`, value))
	if g.status < 300 {
		tr.settled(r, strings.Replace(path, "/metadata/", "/data/", 1), value)
	}
}

// settled notes that a change through us to value has ended.
func (tr *truth) settled(r *rig, path, value string) {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	tr.Lock()
	defer tr.Unlock()
	if now := r.v.kv[path]; now == value { // nothing came after it
		tr.values[path] = append(tr.values[path], change{time.Now(), value})
		tr.floor[path] = len(tr.values[path]) - 1
	}
}

func (tr *truth) undelete(r *rig, path string) {
	if !strings.HasPrefix(path, "secret/") {
		return
	}
	r.ask("root", "PUT", strings.Replace(path, "/data/", "/undelete/", 1), "{}")
	var now string
	r.v.now(func() { now = r.v.kv[path] })
	tr.settled(r, path, now)
}

// unmount takes the mount of version 1 away through us, with all that is in it.
func (tr *truth) unmount(r *rig, paths []string) {
	r.ask("root", "DELETE", "sys/mounts/kv1")
	for _, path := range paths {
		if strings.HasPrefix(path, "kv1/") {
			tr.settled(r, path, "")
		}
	}
}

// revoke ends a token through us, in one of the ways there are. From the request's end on
// nobody may get a hit; a read that was begun before may still be on its way to its begin.
func (tr *truth) revoke(r *rig, who string, how int) {
	defer func() {
		tr.Lock()
		defer tr.Unlock()
		// Once its parent was revoked alone, child is nobody's.
		tr.dead["child"] = tr.dead["child"] || who == "one" && how != 3 && !tr.dead["one"]
		tr.dead[who] = true
	}()
	switch how {
	case 0:
		r.ask("root", "PUT", "auth/token/revoke", fmt.Sprintf(`{"token":%q}`, who))
	case 1:
		r.ask("root", "PUT", "auth/token/revoke-accessor", fmt.Sprintf(`{"accessor":"acc-%s"}`, who))
	case 2:
		r.ask(who, "PUT", "auth/token/revoke-self")
	case 3:
		r.ask("root", "PUT", "auth/token/revoke-orphan", fmt.Sprintf(`{"token":%q}`, who))
	}
}

// policy gives a right through us, or takes it away.
func (tr *truth) policy(r *rig, who, path string, may bool) {
	if may {
		tr.Lock()
		tr.barred[who+path] = false
		tr.Unlock()
	}
	r.ask("root", "PUT", "sys/policies/acl/p", fmt.Sprintf(`{"who":%q,"path":%q,"may":%t}`, who, path, may))
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	tr.Lock()
	defer tr.Unlock()
	t := r.v.tokens[who]
	if t == nil {
		return
	}
	tr.barred[who+path] = t.denied[path] && !may // unless it was given again meanwhile
}

func (tr *truth) allow(r *rig, who, path string, may bool) {
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	tr.Lock()
	defer tr.Unlock()
	t := r.v.tokens[who]
	if t == nil {
		return
	}
	t.denied[path] = !may
	state := ""
	if may {
		state = "may"
	}
	tr.rights[who+path] = append(tr.rights[who+path], change{time.Now(), state})
	tr.barred[who+path] = false // by whom it was taken away is no longer certain
}

func (tr *truth) read(r *rig, who, path, query, ns string) {
	if !strings.HasPrefix(path, "secret/") {
		query = ""
	}
	tr.Lock()
	began, floor, dead, barred := time.Now(), tr.floor[path], tr.dead[who], tr.barred[who+path]
	tr.Unlock()
	g := r.send(&Request{Method: "GET", Path: "/v1/" + path, RawPath: "/v1/" + path, Query: query, Namespace: ns, Token: who})
	if !g.hit {
		return
	}
	if who == "short" && began.After(tr.ends) {
		r.t.Error("a hit for a token after its end")
	}
	if barred {
		r.t.Errorf("a hit for %s, whose right to %s was taken away through us", who, path)
	}
	tr.Lock()
	defer tr.Unlock()
	switch who {
	case "limited", "bound", "blind", "nobody", "":
		r.t.Errorf("a hit for caller %q", who)
	}
	if dead {
		r.t.Errorf("a hit for %s after its revocation", who)
	}
	m := servedValue.FindStringSubmatch(g.body)
	if m == nil {
		r.t.Errorf("a hit without a value: %s", g.body)
		return
	}
	history := tr.values[path]
	for i := len(history) - 1; i >= 0; i-- {
		if history[i].value != m[1] {
			continue
		}
		if i < floor {
			r.t.Errorf("%s shows %s, which was overwritten through us before", path, m[1])
		}
		if i+1 < len(history) && began.Sub(history[i+1].at) > propertyAge {
			r.t.Errorf("%s shows %s, superseded %v ago", path, m[1], began.Sub(history[i+1].at))
		}
		break
	}
	if !had(tr.rights[who+path], began.Add(-propertyTicket)) {
		r.t.Errorf("a hit for %s, who may not read %s since more than %v", who, path, propertyTicket)
	}
}

// had reports whether a right existed at any time since then.
func had(history []change, then time.Time) bool {
	state := "may" // before the first change
	for _, c := range history {
		if c.at.After(then) && state != "" {
			return true
		}
		state = c.value
	}
	return state != ""
}

func FuzzKeysAreDistinct(f *testing.F) {
	f.Add("t", "GET", "secret/a", "version=1", "ns", "", []byte(nil), "t", "GET", "secret/a", "", "ns", "", []byte(nil))
	f.Add("t", "GET", "b/a", "", "a", "", []byte(nil), "t", "GET", "a", "", "a/b", "", []byte(nil))
	f.Fuzz(func(t *testing.T, t1, m1, p1, q1, n1, c1 string, b1 []byte, t2, m2, p2, q2, n2, c2 string, b2 []byte) {
		one, two := fuzzed(t1, m1, p1, q1, n1, c1, b1), fuzzed(t2, m2, p2, q2, n2, c2, b2)
		same := string(one.appendKey(nil)) == string(two.appendKey(nil))
		equal := one.Token == two.Token && one.Method == two.Method && one.Namespace == two.Namespace && strings.TrimPrefix(one.RawPath, "/v1/") == strings.TrimPrefix(two.RawPath, "/v1/") &&
			one.Query == two.Query && one.ContentType == two.ContentType && string(one.Body) == string(two.Body)
		if same != equal {
			t.Errorf("keys equal: %v, requests equal: %v: %+v %+v", same, equal, one, two)
		}
		classify(one)
		groups(one.full())
	})
}

// fuzzed is a request as HTTP lets it through: no zero byte but in the body.
func fuzzed(token, method, path, query, ns, kind string, body []byte) *Request {
	no := func(s string) string { return strings.ReplaceAll(s, "\x00", "") }
	return &Request{Token: no(token), Method: no(method), Path: "/v1/" + no(path), RawPath: "/v1/" + no(path), Query: no(query), Namespace: strings.Trim(no(ns), "/"), ContentType: no(kind), Body: body}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{`{"lease_id":"x","renewable":true,"lease_duration":3600}`, `{"auth":{"client_token":"t","lease_duration": 12 ,"x":[1]}}`, `{"a":{"lease_duration":1},"lease_duration":2}`, `[]`, `{`, `{"lease_duration":"7"}`, `{"lease_duration":1e3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := parse(body)
		if p == nil {
			return
		}
		from, to := p.place(body)
		if from < 0 || to > len(body) || from > to {
			t.Fatalf("place %d to %d of %d bytes", from, to, len(body))
		}
		if to > 0 && strings.Trim(string(body[from:to]), "+-0123456789.eE") != "" {
			t.Errorf("%q is no number", body[from:to])
		}
		p.kvSecret("secret/data/x")
	})
}
