package lease

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/lease/sealed"
	"github.com/envexec/envexec/secret"
)

// memory is a Cache without a disk.
type memory struct {
	mu      sync.Mutex
	records map[string][]byte
	saves   int
	fail    error
}

func (m *memory) Load() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records)
}

func (m *memory) Save(put map[string][]byte, remove []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.fail != nil {
		return m.fail
	}
	if m.records == nil {
		m.records = map[string][]byte{}
	}
	maps.Copy(m.records, put)
	for _, name := range remove {
		delete(m.records, name)
	}
	return nil
}

// names lists the paths in m.
func (m *memory) names() string {
	return strings.Join(slices.Sorted(maps.Keys(m.Load())), ", ")
}

// firstLife fills cache with a secret, a lease and a certificate.
func firstLife(t *testing.T, cache Cache) {
	inBubble(t, Config{Cache: cache}, workingVault(t), func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		w.get(read("db/creds/app"))
		w.get(issue)
		pass(time.Minute)
	})
}

var issue = secret.Request{Op: secret.Write, Path: "pki/issue/web", Body: map[string]any{"common_name": "a"}}

func workingVault(t *testing.T) func(call) reply {
	serial := 0
	return func(c call) reply {
		switch {
		case strings.HasPrefix(c.path, "pki/"):
			serial++
			now := time.Now().UTC().Truncate(time.Second)
			return reply{status: 200, body: map[string]any{"data": map[string]any{"serial": serial, "certificate": certificate(t, now, now.Add(10*time.Hour))}}}
		case strings.HasPrefix(c.path, "db/"):
			return leaseAnswer("of-"+c.token, 3600, true)
		case c.path == "sys/leases/renew":
			return leaseAnswer(fmt.Sprint(c.body["lease_id"]), 3600, true)
		}
		return kv2Answer(7, map[string]any{"k": "v", "n": 1000000})
	}
}

func unreachable(call) reply { return reply{err: errors.New("connection refused")} }

func TestRestartWithVaultDown(t *testing.T) {
	cache := &memory{}
	firstLife(t, cache)
	for name, tc := range map[string]struct {
		serve func(call) reply
		login bool
		after time.Duration
		tell  bool
	}{
		"login refused at once":   {unreachable, false, 0, true},
		"login unanswered":        {unreachable, false, 2 * time.Second, false},
		"reads refused at once":   {unreachable, true, 0, false},
		"sealed":                  {func(call) reply { return refusal(503, "Vault is sealed") }, true, 0, false},
		"reads unanswered":        {func(call) reply { return reply{delay: time.Hour, err: errors.New("x")} }, true, 2 * time.Second, false},
		"vault limits and limits": {func(call) reply { return refusal(http.StatusTooManyRequests) }, true, 2 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			copied := &memory{records: cache.Load()}
			inBubble(t, Config{Cache: copied}, tc.serve, func(w *world) {
				begin := time.Now()
				if tc.login {
					w.login(1)
				}
				if tc.tell {
					w.VaultDown(errors.New("connection refused"))
				}
				for _, req := range []secret.Request{read("secret/data/a"), read("db/creds/app"), issue} {
					w.w.Want(req)
				}
				s := w.get(read("secret/data/a"))
				if took := time.Since(begin); took != tc.after {
					t.Errorf("fell back after %v, want %v", took, tc.after)
				}
				if s.KV != 2 || s.Version != 7 || fmt.Sprint(s.Values()) != "map[k:v n:1000000]" || s.Epoch != 0 {
					t.Errorf("KV %d version %d keys %v epoch %d", s.KV, s.Version, s.Keys(), s.Epoch)
				}
				if s := w.get(read("db/creds/app")); s.Values()["username"] != "u-of-t1" {
					t.Errorf("lease: %v", s.Values())
				}
				w.get(issue)
				for _, st := range w.Status() {
					if !st.Restored || !st.Known {
						t.Errorf("%+v", st)
					}
				}
			})
		})
	}
}

func TestVaultComesBackAfterAFallback(t *testing.T) {
	cache := &memory{}
	firstLife(t, cache)
	inBubble(t, Config{Cache: cache}, workingVault(t), func(w *world) {
		w.VaultDown(errors.New("connection refused"))
		old := w.get(read("db/creds/app"))
		w.get(read("secret/data/a"))
		w.fired()
		w.w.Take()
		pass(time.Minute)
		if len(w.vault.seen("")) != 0 {
			t.Fatal("asked without a token")
		}
		_ = w.WriteToken(w.t.Context(), secret.Token{ID: secret.NewText("new"), Epoch: 1})
		pass(time.Second)
		now := w.get(read("db/creds/app"))
		if now.LeaseID == old.LeaseID || now.Epoch != 1 || !w.fired() {
			t.Error("the lease of the last life was not replaced")
		}
		if keys := w.w.Take(); len(keys) != 1 {
			t.Errorf("%d keys changed, want the lease alone", len(keys))
		}
		for _, st := range w.Status() {
			if st.Restored {
				t.Errorf("%+v", st)
			}
		}
	})
}

func TestCertificateIsReusedOverRestarts(t *testing.T) {
	cache := &memory{}
	firstLife(t, cache)
	inBubble(t, Config{Cache: cache}, workingVault(t), func(w *world) {
		w.login(1)
		w.get(issue)
		w.get(read("secret/data/a"))
		if a, b := len(w.vault.seen("pki")), len(w.vault.seen("secret")); a != 0 || b != 1 {
			t.Fatalf("%d certificates issued, static secret read %d times", a, b)
		}
		pass(8*time.Hour + 50*time.Minute)
		if n := len(w.vault.seen("pki")); n != 0 {
			t.Fatal("issued before its time")
		}
		pass(time.Hour)
		if n := len(w.vault.seen("pki")); n != 1 {
			t.Errorf("issued %d times at its time", n)
		}
	})
}

func TestOldRecordsAreNotUsed(t *testing.T) {
	cache := &memory{}
	firstLife(t, cache)
	later := func(t *testing.T, age time.Duration, test func(w *world)) {
		inBubble(t, Config{Cache: cache}, unreachable, func(w *world) {
			// The Store read its records at the beginning of the bubble's time.
			time.Sleep(age)
			w.VaultDown(errors.New("connection refused"))
			test(w)
		})
	}
	later(t, 2*time.Hour, func(w *world) {
		w.get(read("secret/data/a"))
		w.w.Want(read("db/creds/app"))
		pass(time.Minute)
		for _, st := range w.Status() {
			if st.Request == "db/creds/app" && st.Known {
				t.Error("a lease that has ended was used")
			}
		}
	})
	later(t, 25*time.Hour, func(w *world) {
		w.w.Want(read("secret/data/a"))
		pass(time.Minute)
		if w.Status()[0].Known {
			t.Error("a record of yesterday was used")
		}
	})
}

func TestRevokedLeasesLeaveTheCache(t *testing.T) {
	cache := &memory{}
	var s *Store
	inBubble(t, Config{Cache: cache}, workingVault(t), func(w *world) {
		s = w.Store
		w.login(1)
		w.get(read("secret/data/a"))
		w.get(read("db/creds/app"))
	})
	if got := cache.names(); !strings.Contains(got, "db/creds") || !strings.Contains(got, "secret/data/a") {
		t.Fatalf("kept at the end: %s", got)
	}
	if err := s.Revoked(); err != nil {
		t.Fatal(err)
	}
	if got := cache.names(); strings.Contains(got, "db/creds") || !strings.Contains(got, "secret/data/a") {
		t.Errorf("kept after the revocation: %s", got)
	}
}

func TestFullCacheDiskDisturbsNobody(t *testing.T) {
	cache := &memory{fail: errors.New("no space left on device")}
	inBubble(t, Config{Cache: cache, StaticInterval: 10 * time.Second}, workingVault(t), func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		pass(time.Hour)
		cache.mu.Lock()
		if cache.saves < 10 || cache.saves > 70 {
			t.Errorf("tried %d times in an hour", cache.saves)
		}
		cache.fail = nil
		cache.mu.Unlock()
		pass(2 * time.Minute)
		if cache.names() == "" {
			t.Error("not saved when there was room again")
		}
	})
}

func TestUnchangedSecretsAreSavedRarely(t *testing.T) {
	cache := &memory{}
	inBubble(t, Config{Cache: cache, StaticInterval: 10 * time.Second}, workingVault(t), func(w *world) {
		w.login(1)
		w.get(read("secret/data/a"))
		pass(24 * time.Hour)
		cache.mu.Lock()
		defer cache.mu.Unlock()
		if cache.saves < 8 || cache.saves > 10 {
			t.Errorf("%d saves in a day without a change: the age must be kept up, and no more", cache.saves)
		}
	})
}

func TestDamagedRecordIsIgnored(t *testing.T) {
	cache := &memory{}
	firstLife(t, cache)
	for name, rec := range cache.records {
		cache.records[name] = rec[:10]
	}
	cache.records["x"] = []byte("short")
	inBubble(t, Config{Cache: cache}, workingVault(t), func(w *world) {
		w.VaultDown(errors.New("no"))
		w.w.Want(read("secret/data/a"))
		synctest.Wait()
		w.login(1)
		w.get(read("secret/data/a"))
	})
}

func TestSealedFileAsCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	open := func() *sealed.File {
		f, err := sealed.Open(sealed.Config{Path: path, Keys: sealed.Passphrases(secret.NewText("sesame"))})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	firstLife(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = open()
	defer f.Close()
	inBubble(t, Config{Cache: f}, unreachable, func(w *world) {
		w.login(1)
		if got := w.get(read("secret/data/a")).Values()["k"]; got != "v" {
			t.Errorf("got %v", got)
		}
	})
}
