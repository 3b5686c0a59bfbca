package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is one request the fake Vault saw.
type call struct {
	at                           time.Duration
	method, path, token, ns, raw string
	body                         map[string]any
}

func (c call) String() string { return fmt.Sprintf("%v %s %s", c.at, c.method, c.path) }

// reply is what the fake Vault answers.
type reply struct {
	status int
	body   any
	header http.Header
	err    error         // instead of an answer
	sent   bool          // with err: the request went out
	delay  time.Duration // before the answer
}

// fakeVault answers in process, without sockets, so that it works in a synctest bubble.
type fakeVault struct {
	t      testing.TB
	start  time.Time
	mu     sync.Mutex
	calls  []call
	flying int
	most   int
	serve  func(call) reply
	forget bool // keep no calls
}

func (f *fakeVault) RoundTrip(r *http.Request) (*http.Response, error) {
	c := call{
		at: time.Since(f.start), method: r.Method, path: strings.TrimPrefix(r.URL.Path, "/v1/"),
		token: r.Header.Get("X-Vault-Token"), ns: r.Header.Get("X-Vault-Namespace"), raw: r.URL.RawQuery,
	}
	if r.Body != nil {
		dec := json.NewDecoder(r.Body)
		dec.UseNumber()
		_ = dec.Decode(&c.body)
		_ = r.Body.Close()
	}
	f.mu.Lock()
	if !f.forget {
		f.calls = append(f.calls, c)
	}
	f.flying++
	f.most = max(f.most, f.flying)
	rep := f.serve(c)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.flying--; f.mu.Unlock() }()
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GetConn(r.URL.Host)
		if rep.err == nil || rep.sent {
			trace.WroteHeaders()
		}
	}
	if rep.delay > 0 {
		select {
		case <-time.After(rep.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if rep.err != nil {
		return nil, rep.err
	}
	var body []byte
	switch b := rep.body.(type) {
	case nil:
	case string:
		body = []byte(b)
	default:
		body, _ = json.Marshal(b)
	}
	h := http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for k, v := range rep.header {
		h[k] = v
	}
	return &http.Response{
		StatusCode: rep.status, Header: h, Request: r, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

// seen returns the calls whose path has this prefix.
func (f *fakeVault) seen(prefix string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []call
	for _, c := range f.calls {
		if strings.HasPrefix(c.path, prefix) {
			out = append(out, c)
		}
	}
	return out
}

// client returns an API client that talks to f.
func (f *fakeVault) client() *api.Client {
	cfg := &api.Config{Address: "http://vault.invalid:8200", HttpClient: &http.Client{
		Transport:     f,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // as the api package's own
	}}
	c, err := api.NewClient(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	c.ClearToken()
	c.ClearNamespace()
	return c
}

// world is a Store in a bubble with a fake Vault.
type world struct {
	*Store
	t     *testing.T
	vault *fakeVault
	w     *Watcher
	bad   []secret.Token
}

// inBubble runs test in a synctest bubble with a running Store. Chance takes nothing away: random is 0.
func inBubble(t *testing.T, cfg Config, serve func(call) reply, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		v := &fakeVault{t: t, start: start, serve: serve}
		w := &world{t: t, vault: v}
		cfg.Client = v.client()
		cfg.clock = func() time.Duration { return time.Hour + time.Since(start) }
		if cfg.random == nil {
			cfg.random = func() float64 { return 0 }
		}
		cfg.OnInvalidToken = func(tok secret.Token) { w.bad = append(w.bad, tok) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.Store, w.w = s, s.Watch()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		defer func() { cancel(); <-ended }()
		test(w)
	})
}

// login hands the Store a token of this epoch.
func (w *world) login(epoch uint64) {
	_ = w.WriteToken(w.t.Context(), secret.Token{ID: secret.NewText(fmt.Sprintf("t%d", epoch)), Epoch: epoch})
}

// get reads path and fails the test on error.
func (w *world) get(req secret.Request) *secret.Secret {
	w.t.Helper()
	s, err := w.w.Get(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// pass lets d go by and everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fired reports whether Changed has something, and takes it.
func (w *world) fired() bool {
	select {
	case <-w.w.Changed():
		return true
	default:
		return false
	}
}

// read is a read request.
func read(path string) secret.Request { return secret.Request{Path: path} }

// kv2Answer is a KV v2 read answer.
func kv2Answer(version int, data map[string]any) reply {
	return reply{status: 200, body: map[string]any{
		"mount_type": "kv",
		"data": map[string]any{
			"data":     data,
			"metadata": map[string]any{"version": version, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false},
		},
	}}
}

// leaseAnswer is a dynamic secret.
func leaseAnswer(id string, ttl int, renewable bool) reply {
	return reply{status: 200, body: map[string]any{
		"lease_id": id, "lease_duration": ttl, "renewable": renewable,
		"data": map[string]any{"username": "u-" + id},
	}}
}

// refusal is an error answer.
func refusal(status int, messages ...string) reply {
	if messages == nil {
		messages = []string{}
	}
	return reply{status: status, body: map[string]any{"errors": messages}}
}
