package authtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/secret"
)

// Subject is one method with credentials that are good at the start.
type Subject struct {
	Method auth.Method
	// Check verifies a login request by other means than the method's own code; nil = it is good.
	Check func(Request) error
	// Rotate replaces the credentials by others, after which Check accepts only the new ones. nil = they cannot change.
	Rotate func()
	// Spoil makes the credentials bad for Check without the method being told, as a revocation does. Required.
	Spoil func()
	// Given: the method looks a given token up, it makes none.
	Given bool
	// Secrets must not be in any error or log.
	Secrets []string
}

// Option changes how the suite runs.
type Option func(*options)

type options struct{ tls bool }

// TLS makes the suite's server ask for a client certificate, for methods that log in by one.
func TLS() Option { return func(o *options) { o.tls = true } }

// Run runs the suite. newSubject is called for each test, with the server the method will log in to.
func Run(t *testing.T, newSubject func(t *testing.T, v *Vault) Subject, opts ...Option) {
	var o options
	for _, f := range opts {
		f(&o)
	}
	for name, test := range map[string]func(*testing.T, *bench){
		"good login":      goodLogin,
		"bad credentials": badCredentials,
		"expiry":          expiry,
		"rotation":        rotation,
		"cancel":          cancelInFlight,
		"slow":            slowAnswer,
		"garbage":         garbageAnswers,
		"sealed":          sealed,
	} {
		t.Run(name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
			v := newVault(t, o.tls)
			b := &bench{Vault: v, Subject: newSubject(t, v)}
			v.check = b.Check
			b.log.secrets = b.Secrets
			test(t, b)
			b.hidden(t, b.log.String())
			v.Server.CloseClientConnections()
		})
	}
}

// bench is one test's server, method and log.
type bench struct {
	*Vault
	Subject
	log logBuffer
}

type logBuffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	secrets []string
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// hidden fails when text shows a secret.
func (b *bench) hidden(t *testing.T, text string) {
	t.Helper()
	for i, s := range append(b.Secrets, "hvs.login-", "hvs.half") {
		if s != "" && strings.Contains(text, s) {
			t.Errorf("secret %d shows in: %s", i, strings.ReplaceAll(text, s, "<HERE>"))
		}
	}
}

func (b *bench) login(ctx context.Context, t *testing.T) error {
	t.Helper()
	s, err := b.Method.Login(ctx, b.Client(t))
	if err != nil {
		b.hidden(t, err.Error())
	} else if s == nil {
		t.Error("no error and no answer")
	}
	return err
}

// tokens is a sink.
type tokens chan secret.Token

func (c tokens) WriteToken(_ context.Context, t secret.Token) error { c <- t; return nil }

// session runs one until stop is called, which returns Run's error.
func (b *bench) session(t *testing.T, edit func(*auth.Config)) (got tokens, stop func() error) {
	t.Helper()
	got = make(tokens, 20)
	c := auth.Config{
		Client: b.Client(t), Method: b.Method, MountPath: "auth/test", Sinks: []auth.Sink{got}, Reauth: true,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Logger: slog.New(slog.NewJSONHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if edit != nil {
		edit(&c)
	}
	s, err := auth.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return got, func() error {
		select {
		case err := <-done: // ended by itself
			cancel()
			return err
		default:
		}
		cancel()
		return <-done
	}
}

const patience = 15 * time.Second

// take waits for the next token.
func (b *bench) take(t *testing.T, got tokens) secret.Token {
	t.Helper()
	select {
	case tok := <-got:
		return tok
	case <-time.After(patience):
		_, refused := b.seen()
		t.Fatalf("no token in %s; refusals: %s; log:\n%s", patience, refused, b.log.String())
		return secret.Token{}
	}
}

func goodLogin(t *testing.T, b *bench) {
	got, stop := b.session(t, nil)
	tok := b.take(t, got)
	if tok.ID.Empty() || tok.Epoch != 1 || tok.TTL != time.Hour || tok.Namespace != "team/a" {
		t.Errorf("token: %+v", tok)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n, _ := b.seen(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func badCredentials(t *testing.T, b *bench) {
	b.Spoil()
	if err := b.login(t.Context(), t); err == nil {
		t.Error("logged in with bad credentials")
	}
	before, _ := b.seen()
	_, stop := b.session(t, nil)
	deadline := time.Now().Add(patience)
	for n := before; n == before && time.Now().Before(deadline); n, _ = b.seen() {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // long enough for many more, were the login repeated
	err := stop()
	var de *auth.DeniedError
	if !errors.As(err, &de) {
		t.Fatalf("Run: %v, want a DeniedError", err)
	}
	b.hidden(t, err.Error())
	if n, _ := b.seen(); n != before+1 {
		t.Errorf("%d requests for one denied login, want 1", n-before)
	}
}

func expiry(t *testing.T, b *bench) {
	b.setTTL(1)
	got, stop := b.session(t, nil)
	b.take(t, got)
	for range 2 {
		if b.Given {
			break // it stays the same
		}
		b.take(t, got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func rotation(t *testing.T, b *bench) {
	if b.Rotate == nil {
		return // these credentials do not change
	}
	got, stop := b.session(t, nil)
	b.take(t, got)
	b.set(hangs)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	inFlight := make(chan error, 1)
	go func() { _, err := b.Method.Login(ctx, b.Client(t)); inFlight <- err }()
	select {
	case <-b.held:
	case <-ctx.Done():
		t.Fatal("the login did not reach the server")
	}
	b.Rotate()
	b.set(answers)
	cancel()
	<-inFlight
	b.take(t, got) // the session noticed by itself
	if err := b.login(t.Context(), t); err != nil {
		_, refused := b.seen()
		t.Errorf("login after a rotation: %v (%s)", err, refused)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func cancelInFlight(t *testing.T, b *bench) {
	b.set(hangs)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-b.held; cancel() }()
	begin := time.Now()
	if err := b.login(ctx, t); !errors.Is(err, context.Canceled) {
		t.Errorf("login: %v, want context.Canceled", err)
	}
	if d := time.Since(begin); d > patience {
		t.Errorf("cancelled after %s", d)
	}
	_, stop := b.session(t, nil)
	<-b.held
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func slowAnswer(t *testing.T, b *bench) {
	b.set(hangs)
	got, stop := b.session(t, func(c *auth.Config) { c.RequestTimeout = 100 * time.Millisecond })
	<-b.held
	<-b.held // tried again
	b.set(answers)
	_, _ = got, b.Client(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func garbageAnswers(t *testing.T, b *bench) {
	for _, m := range []mode{html, truncated, empty, badGateway} {
		b.set(m)
		if err := b.login(t.Context(), t); err == nil {
			t.Errorf("garbage %d passed for a login", m)
		}
	}
	got, stop := b.session(t, nil) // still garbage, retried
	begin, _ := b.seen()
	for n := 0; n < begin+2; n, _ = b.seen() {
		time.Sleep(time.Millisecond)
	}
	b.set(answers)
	b.take(t, got)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func sealed(t *testing.T, b *bench) {
	b.set(unavailable)
	got, stop := b.session(t, nil)
	for n := 0; n < 2; n, _ = b.seen() {
		time.Sleep(time.Millisecond)
	}
	b.set(answers)
	b.take(t, got)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// requestClientCert makes a server ask for a certificate it does not check.
func requestClientCert() *tls.Config { return &tls.Config{ClientAuth: tls.RequestClientCert} }

// WriteFile replaces a credential file at once, as a careful writer does.
func WriteFile(t testing.TB, path, text string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// Value is a string two goroutines share.
type Value struct{ v atomic.Value }

// NewValue holds s.
func NewValue(s string) *Value {
	v := &Value{}
	v.Set(s)
	return v
}

// Get returns the string.
func (v *Value) Get() string { return v.v.Load().(string) } //nolint:forcetypeassert // only Set stores

// Set replaces the string.
func (v *Value) Set(s string) { v.v.Store(s) }
