package auth

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeVault answers renew-self and revoke-self without a network, so that a
// test's clock can be synctest's.
type fakeVault struct {
	mu    sync.Mutex
	renew func(token string) (status int, ttl int)
	look  func(token string) (status int, answer string) // lookup-self
	calls []string                                       // "renew-self TOKEN"

	revoke int // status of revoke-self; 0 = it works

	wrapping func(op, token string) (status int, answer string) // sys/wrapping/OP
}

func (f *fakeVault) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := r.Header.Get("X-Vault-Token")
	op := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	var sent struct{ Token string }
	if r.Body != nil && json.NewDecoder(r.Body).Decode(&sent) == nil && sent.Token != "" {
		token = sent.Token
	}
	f.calls = append(f.calls, op+" "+token)
	status, body := http.StatusNoContent, ""
	if op == "renew-self" {
		var ttl int
		status, ttl = f.renew(token)
		b, _ := json.Marshal(map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": ttl, "renewable": true}})
		body = string(b)
	}
	if op == "revoke-self" && f.revoke != 0 {
		status = f.revoke
	}
	switch {
	case strings.Contains(r.URL.Path, "/wrapping/"):
		status, body = f.wrapping(op, token)
	case op == "lookup-self":
		status, body = f.look(token)
	case status >= 400:
		body = `{"errors":["permission denied"]}`
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

func (f *fakeVault) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// fakeMethod answers with what login says; calls are counted from 1.
type fakeMethod struct {
	mu    sync.Mutex
	n     int
	at    []time.Time
	login func(n int) (*api.Secret, error)
	print string
}

func (f *fakeMethod) Login(context.Context, *api.Client) (*api.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.at = append(f.at, time.Now())
	return f.login(f.n)
}

func (f *fakeMethod) Fingerprint(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.print, nil
}

func (f *fakeMethod) Watch() ([]string, time.Duration) { return nil, time.Second }

func (f *fakeMethod) change(print string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.print = print
}

func (f *fakeMethod) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func service(id string, ttl int) *api.Secret {
	return &api.Secret{Auth: &api.SecretAuth{ClientToken: id, Accessor: "a", LeaseDuration: ttl, Renewable: true}}
}

func refusal(status int, text string) error {
	return &api.ResponseError{StatusCode: status, Errors: []string{text}}
}

// fakeSink records tokens; the first fail writes fail.
type fakeSink struct {
	mu   sync.Mutex
	got  []secret.Token
	fail int
}

func (f *fakeSink) WriteToken(_ context.Context, t secret.Token) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail > 0 {
		f.fail--
		return io.ErrShortWrite
	}
	f.got = append(f.got, t)
	return nil
}

func (f *fakeSink) tokens() (ids string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.got {
		ids += t.ID.Reveal() + " "
	}
	return strings.TrimSpace(ids)
}

// start runs a session in the bubble; stop ends it and returns Run's error.
func start(t *testing.T, vault *fakeVault, m *fakeMethod, edit func(*Config)) (s *Session, stop func() error) {
	t.Helper()
	began := time.Now()
	c := Config{
		Client: fakeClient(t, vault), Method: m, MountPath: "auth/fake", Revoke: true, Logger: slog.New(slog.DiscardHandler),
		now: func() time.Duration { return time.Since(began) + time.Hour }, random: func() float64 { return 0.5 },
	}
	if edit != nil {
		edit(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error { cancel(); return <-done }
}

// fakeClient reaches vault alone.
func fakeClient(t *testing.T, vault *fakeVault) *api.Client {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address = "http://vault.test"
	cfg.HttpClient = &http.Client{Transport: vault}
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client.SetMaxRetries(0)
	return client
}

// loggedIn is a sink that only says so.
type loggedIn func()

func (f loggedIn) WriteToken(context.Context, secret.Token) error { f(); return nil }
