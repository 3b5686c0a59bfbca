package shared

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// onDisk runs f in a bubble with a Vault and a disk.
func onDisk(t *testing.T, f func(t *testing.T, v *vault, d *disk, persist func(*Config))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{records: map[string][]byte{}}
		f(t, newVault(), d, func(c *Config) {
			c.Persist, c.MaxAge, c.TicketLife, c.MaxAgeOffline = d, time.Hour, time.Minute, time.Hour
		})
	})
}

// TestARestartKeepsTimes: when a lease ends after its renewals, when a ticket must be earned
// again, when a token ends, and that it was looked up.
func TestARestartKeepsTimes(t *testing.T) {
	onDisk(t, func(t *testing.T, v *vault, _ *disk, persist func(*Config)) {
		v.login("root")
		v.login("short", func(t *vaultToken) { t.end = time.Now().Add(71*time.Minute + 10*time.Second) })
		v.kv[app] = "v"
		live(t, v, persist, func(r *rig) {
			r.session("root", "GET", "db/creds/x")
			time.Sleep(70 * time.Minute)
			for _, who := range []string{"root", "root", "short", "short"} {
				r.ask(who, "GET", app)
			}
			time.Sleep(50 * time.Second)
			r.send(&Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: "root", Fresh: true}) // earned again
		})
		time.Sleep(15 * time.Second)
		live(t, v, persist, func(r *rig) {
			asked := r.requests(lookUps)
			if g := r.session("root", "GET", "db/creds/x"); !g.hit {
				t.Errorf("the lease: %+v", g)
			}
			if g := r.ask("root", "GET", app); !g.hit || r.requests(lookUps) != asked {
				t.Errorf("the secret: %+v, %d look-ups", g, r.requests(lookUps)-asked)
			}
			if g := r.ask("short", "GET", app); g.hit {
				t.Error("the ticket lasts longer than it did")
			}
			time.Sleep(10 * time.Second)
			if r.Serve(discardWriter{}, &Request{Method: "GET", Path: "/v1/" + app, RawPath: "/v1/" + app, Token: "short"}) {
				t.Error("a hit after the token's end")
			}
		})
	})
}

// TestARestartKeepsNamespaces, for renewals.
func TestARestartKeepsNamespaces(t *testing.T) {
	onDisk(t, func(t *testing.T, v *vault, _ *disk, persist func(*Config)) {
		v.login("root")
		live(t, v, persist, func(r *rig) {
			r.send(&Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: "root", Namespace: "ns1", Session: &secret.Token{}})
		})
		var in []string
		v.hold = func(r *http.Request) { in = append(in, r.URL.Path+" "+r.Header.Get("X-Vault-Namespace")) }
		live(t, v, persist, func(*rig) {})
		if got := fmt.Sprint(in); got != "[/v1/sys/leases/renew ns1]" {
			t.Errorf("asked %s", got)
		}
	})
}

// TestWhatIsTooOldOrCannotBeReadIsErased.
func TestWhatIsTooOldOrCannotBeReadIsErased(t *testing.T) {
	onDisk(t, func(t *testing.T, v *vault, d *disk, persist func(*Config)) {
		v.login("root")
		v.kv[app] = "v"
		live(t, v, func(c *Config) { persist(c); c.TicketLife = 100 * time.Hour }, func(r *rig) {
			r.ask("root", "GET", app)
			r.ask("root", "GET", app)
			r.session("root", "PUT", "auth/token/create")
		})
		d.records["lease-x"], d.records["value-x"], d.records["token-x"] = []byte("{"), []byte(`{"Saved":"2000-01-01T00:00:00Z"}`), nil
		d.records["ticket-x"] = fmt.Appendf(nil, `{"Saved":%q,"Value":"nowhere","Key":"eA==","Caller":{"Token":"root"}}`, time.Now().Format(time.RFC3339))
		time.Sleep(2 * time.Hour)
		live(t, v, func(c *Config) {
			persist(c)
			c.PersistMaxAge, c.MaxAge, c.TicketLife = time.Hour, 100*time.Hour, 100*time.Hour
		}, func(r *rig) {
			if g := r.ask("root", "GET", app); g.hit {
				t.Errorf("older than anything may be: %+v", g)
			}
			_ = r.Clear(ClearAll, "", "")
		})
		if left := d.Load(); len(left) != 0 {
			t.Errorf("%d records are left: %v", len(left), left)
		}
	})
}

// TestADiskThatFailsForATime gets all of it once it works; what went meanwhile stays gone.
func TestADiskThatFailsForATime(t *testing.T) {
	onDisk(t, func(t *testing.T, v *vault, d *disk, persist func(*Config)) {
		v.login("root")
		v.kv[app], v.kv["kv1/x"] = "v", "v"
		var gone string
		live(t, v, func(c *Config) { persist(c); c.TicketLife = time.Hour }, func(r *rig) {
			d.fail(true)
			gone, _ = r.session("root", "GET", "db/creds/gone").lease()
			r.session("root", "GET", "db/creds/x")
			for range 2 {
				r.ask("root", "GET", app)
				r.ask("root", "GET", "kv1/x")
			}
			time.Sleep(time.Second)
			r.ask("root", "PUT", "sys/leases/revoke", fmt.Sprintf(`{"lease_id":%q}`, gone))
			r.ask("root", "DELETE", "kv1/x")
			time.Sleep(time.Second)
			d.fail(false)
			time.Sleep(3 * saveAgain)
		})
		live(t, v, func(c *Config) { persist(c); c.TicketLife = time.Hour }, func(r *rig) {
			for path, hit := range map[string]bool{"db/creds/x": true, "db/creds/gone": false, app: true, "kv1/x": false} {
				if r.Serve(discardWriter{}, sessionRead(path)) != hit {
					t.Errorf("%s after the restart: hit %t", path, !hit)
				}
			}
		})
	})
}

// TestWhatComesAndGoesBetweenTwoSavesIsNotWritten, and what is revoked at the end neither.
func TestWhatComesAndGoesBetweenTwoSavesIsNotWritten(t *testing.T) {
	onDisk(t, func(t *testing.T, v *vault, d *disk, persist func(*Config)) {
		v.login("root")
		var over *rig
		live(t, v, persist, func(r *rig) {
			over = r
			r.session("root", "GET", "db/creds/stays")
			synctest.Wait() // written, and the next save is not at once
			id, _ := r.session("root", "GET", "db/creds/goes").lease()
			r.ask("root", "PUT", "sys/leases/revoke", fmt.Sprintf(`{"lease_id":%q}`, id))
			time.Sleep(time.Second)
			if n := len(d.Load()); n != 1 {
				t.Errorf("%d records, want that of one lease", n)
			}
			child := r.session("root", "PUT", "auth/token/create").made()
			r.ask(child, "GET", "db/creds/x")
		})
		if n := len(d.Load()); n != 3 {
			t.Errorf("%d records at the end", n)
		}
		if err := over.Revoked("root"); err != nil || len(d.Load()) != 0 {
			t.Errorf("%d records after the session was revoked, %v", len(d.Load()), err)
		}
		d.fail(true)
		over.erase("x")
		if err := over.Revoked("nobody"); err == nil || errors.Is(err, http.ErrAbortHandler) {
			t.Error("a disk that fails is no error")
		}
	})
}

// TestASessionsParent: of a login there is none, of a token that was given it may be revoked through us.
func TestASessionsParent(t *testing.T) {
	in(t, func(c *Config) { c.Static = false }, func(r *rig) { // so that nobody looks it up
		r.v.login("own")
		r.v.login("given")
		for token, session := range map[string]*secret.Token{"own": {Own: true}, "given": {}} {
			r.send(&Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: token, Session: session})
		}
		r.ask("own", "PUT", "auth/token/revoke", `{"token":"somebody's"}`)
		for token, hit := range map[string]bool{"own": true, "given": false} {
			if r.Serve(discardWriter{}, &Request{Method: "GET", Path: "/v1/db/creds/x", RawPath: "/v1/db/creds/x", Token: token}) != hit {
				t.Errorf("%s: hit %t", token, !hit)
			}
		}
		r.Forget("own")
		if r.Holds("own") || strings.Contains(fmt.Sprint(r.callers), "own") {
			t.Error("a token vault does not know holds leases")
		}
	})
}
