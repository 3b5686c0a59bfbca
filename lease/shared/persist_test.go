package shared

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// disk is a Persist in memory.
type disk struct {
	mu      sync.Mutex
	records map[string][]byte
	full    bool
}

func (d *disk) Load() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.records)
}

func (d *disk) Save(put map[string][]byte, remove []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return errors.New("no space")
	}
	for _, name := range remove {
		delete(d.records, name)
	}
	maps.Copy(d.records, put)
	return nil
}

// fail makes every Save fail, or no more.
func (d *disk) fail(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// lives runs each f in a life of its own before one Vault and one disk.
func lives(t *testing.T, edit func(*Config), fs ...func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v, d := newVault(), &disk{records: map[string][]byte{}}
		for _, f := range fs {
			live(t, v, func(c *Config) {
				c.Persist = d
				if edit != nil {
					edit(c)
				}
			}, f)
		}
	})
}

// TestAClockThatWasSetBackMakesNothingYounger: how old a record is cannot be told then;
// a lease is renewed all the same.
func TestAClockThatWasSetBackMakesNothingYounger(t *testing.T) {
	lives(t, func(c *Config) {
		d := c.Persist.(*disk)
		for name, text := range d.records {
			var r record
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			for _, at := range []*time.Time{&r.Saved, &r.At, &r.End, &r.Until} {
				if !at.IsZero() {
					*at = at.Add(5 * time.Hour)
				}
			}
			d.records[name], _ = json.Marshal(r)
		}
	}, func(r *rig) {
		r.v.login("root")
		r.v.kv[app] = "old"
		for range 3 {
			r.session("root", "GET", app)
		}
		r.session("root", "GET", "db/creds/x")
	}, func(r *rig) {
		r.v.kv[app] = "new"
		time.Sleep(time.Minute)
		if g := r.session("root", "GET", app); g.hit || !strings.Contains(g.body, "new") {
			t.Errorf("a value from before the restart: %+v", g)
		}
		if n := r.requests("PUT /v1/sys/leases/renew"); n != 1 {
			t.Errorf("the lease was renewed %d times at the start", n)
		}
		if g := r.session("root", "GET", "db/creds/x"); !g.hit {
			t.Errorf("the lease is lost: %+v", g)
		}
	})
}

func TestARestartKeepsLeasesTokensAndTickets(t *testing.T) {
	var tree []string
	lives(t, nil, func(r *rig) {
		top, middle, leaf, orphan := r.family()
		tree = []string{top, middle, leaf, orphan}
		r.v.kv[app] = "v"
		for range 3 {
			r.ask("root", "GET", app)
		}
		time.Sleep(5 * time.Second)
	}, func(r *rig) {
		asked := r.requests("GET /v1/db/creds/x")
		for _, k := range tree {
			if g := r.ask(k, "GET", "db/creds/x"); !g.hit {
				t.Errorf("%s gets no hit after the restart", k)
			}
		}
		if g := r.session("root", "GET", "db/creds/x"); !g.hit || r.requests("GET /v1/db/creds/x") != asked {
			t.Errorf("the session's lease was asked for again: %+v", g)
		}
		if g := r.session("root", "PUT", "auth/token/create"); !g.hit || g.made() != tree[0] {
			t.Errorf("the session's child is another: %+v", g)
		}
		if g := r.ask("root", "GET", app); !g.hit || g.age != "5" {
			t.Errorf("a KV secret 5s old: %+v", g)
		}
		if g := r.ask("foreign", "GET", app); g.hit {
			t.Error("a ticket of nobody's")
		}
		time.Sleep(6 * time.Second)
		if g := r.ask("root", "GET", app); g.hit {
			t.Errorf("a KV secret of more than the maximum age: %+v", g)
		}
		if g := r.ask("root", "PUT", "auth/token/revoke", `{"token":"`+tree[1]+`"}`); g.status != 204 {
			t.Fatalf("revocation: %+v", g)
		}
	}, func(r *rig) { // the tree is known as a tree, and what was revoked stays so
		for i, hit := range []bool{true, false, false, true} {
			if g := r.ask(tree[i], "GET", "db/creds/x"); g.hit != hit {
				t.Errorf("token %d after the revocation of its middle: hit %t", i, g.hit)
			}
		}
	})
}

// TestARestartFindsOutWhatIsGone: what ended or was revoked while nobody looked.
func TestARestartFindsOutWhatIsGone(t *testing.T) {
	var top, leaf string
	lives(t, nil, func(r *rig) {
		top, _, leaf, _ = r.family()
	}, func(r *rig) {
		synctest.Wait() // until all is renewed
		r.v.now(func() { r.v.revoke(top) })
	}, func(r *rig) {
		time.Sleep(time.Second)
		if g := r.ask(leaf, "GET", "db/creds/x"); g.hit || g.status != 403 {
			t.Errorf("a lease of a token revoked meanwhile: %+v", g)
		}
		r.v.login("root")
		r.session("root", "PUT", "auth/token/create")
	}, func(*rig) {
		time.Sleep(time.Second)
	}, func(r *rig) {
		if r.Stats().Entries == 0 {
			t.Error("nothing was kept")
		}
		r.v.now(func() { r.v.down = 503 })
	})
	lives(t, func(c *Config) { c.PersistMaxAge = time.Hour }, func(r *rig) {
		r.family()
	}, func(r *rig) {
		r.v.now(func() { r.v.down = 503 })
		time.Sleep(59 * time.Minute)
		if r.Stats().Entries == 0 {
			t.Error("leases that live do not outlive an outage")
		}
	}, func(r *rig) {
		time.Sleep(2 * time.Minute)
	}, func(r *rig) {
		if n := r.Stats().Entries; n != 0 {
			t.Errorf("%d entries older than they may be", n)
		}
	})
}

func TestAnOutageOverARestart(t *testing.T) {
	lives(t, nil, func(r *rig) {
		r.v.kv[app] = "v"
		r.v.login("a")
		for range 3 {
			r.ask("a", "GET", app)
		}
		r.v.now(func() { r.v.down = 503 })
		time.Sleep(30 * time.Second)
	}, func(r *rig) {
		if g := r.ask("a", "GET", app); !g.hit || g.age != "30" {
			t.Errorf("30s into an outage: %+v", g)
		}
		time.Sleep(31 * time.Second)
		if g := r.ask("a", "GET", app); g.hit {
			t.Errorf("older than it may be offline: %+v", g)
		}
	})
}

func TestWhatIsClearedIsClearedOnDisk(t *testing.T) {
	d := &disk{records: map[string][]byte{}}
	in(t, func(c *Config) { c.Persist = d }, func(r *rig) {
		r.family()
		r.v.kv[app], r.v.kv["kv1/x"] = "hunter2", "hunter2"
		for range 3 {
			r.ask("root", "GET", "kv1/x")
			r.ask("root", "GET", app)
		}
		time.Sleep(time.Second)
		if len(d.Load()) == 0 {
			t.Fatal("nothing is on disk")
		}
		d.fail(true)
		r.v.kv[app] = "hunter3"
		r.ask("root", "PUT", app, "{}")
		if err := r.Clear(ClearAll, "", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		d.fail(false)
		time.Sleep(2 * saveAgain)
		if left := d.Load(); len(left) != 0 {
			t.Errorf("%d records are left", len(left))
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add("value-x", []byte(`{"Saved":"2026-01-01T00:00:00Z","Full":"secret/data/a","Value":"secret/data/a?","Body":"e30="}`))
	f.Add("lease-x", []byte(`{"Saved":"2026-01-01T00:00:00Z","Lease":"l","End":"2099-01-01T00:00:00Z","Caller":{"Token":"t","Managed":true},"From":3,"To":1}`))
	f.Add("token-x", []byte(`{"Saved":"2026-01-01T00:00:00Z","Key":"eA==","End":"2099-01-01T00:00:00Z","Made":{"Token":"t","Parent":"t"}}`))
	f.Add("ticket-x", []byte(`{"Value":"nowhere","Caller":{"Token":""}}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		c, err := New(Config{Do: newVault().do, Leases: true, Static: true, PersistMaxAge: 1 << 62, Persist: &disk{records: map[string][]byte{
			name: text, "b" + name: text, "value-" + name: []byte(strings.Replace(string(text), "lease", "data", 1)),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for token := range c.callers {
			c.Forget(token)
		}
		_ = c.Clear(ClearAll, "", "")
		if c.size != 0 {
			t.Errorf("size is %d of an empty cache", c.size)
		}
	})
}
