package main

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/internal/telemetry"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/supervise"
)

// agentUnderTest is an agent in this process, whose configuration the test rewrites.
type agentUnderTest struct {
	t      *testing.T
	dir    string
	head   string // of every configuration: server and login
	job    *job
	socket string
	port   string
}

func startAgent(t *testing.T, first func(a *agentUnderTest) string) *agentUnderTest {
	t.Helper()
	v := startForAgent(t)
	return startAgentAt(t, v, fmt.Sprintf("vault { address = %q }\n", v.Addr), first)
}

func startForAgent(t *testing.T) *vaulttest.Server {
	t.Helper()
	if _, err := vaulttest.Binary(); err != nil {
		vaulttest.Missing(t, vaulttest.PartVault, err.Error())
	}
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/a", map[string]any{"key": "value"})
	v.Policy(t, "reader", `path "secret/data/*" { capabilities = ["read"] }`)
	return v
}

// startAgentAt begins every configuration with head, which says where v is.
func startAgentAt(t *testing.T, v *vaulttest.Server, head string, first func(a *agentUnderTest) string) *agentUnderTest {
	t.Helper()
	role := v.AppRole(t, nil, "reader")
	a := &agentUnderTest{t: t, dir: t.TempDir(), head: head}
	a.socket = filepath.Join(a.dir, "s")
	a.port = freePort(t)
	place(t, a.dir, "role", role.ID)
	place(t, a.dir, "secret", role.SecretID)
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "listener"})
	place(t, a.dir, "cert", cert)
	place(t, a.dir, "key", key)
	a.write(first(a))
	cfg, err := config.Parse([]string{"--config", filepath.Join(a.dir, "a.hcl"), "--admin", "off"}, environ.Environ{})
	if err != nil {
		t.Fatal(err)
	}
	log := &logging{log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar), file: &telemetry.LogFile{}}
	sigs := supervise.Catch(nil)
	if a.job, err = newJob(cfg, environ.Environ{}, log, sigs); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	a.job.started = sync.OnceFunc(func() { close(started) })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { _, err := a.job.run(ctx); ended <- err }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		sigs.Release()
	})
	select {
	case <-started:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("the agent does not start")
	}
	return a
}

func freePort(t *testing.T) string {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

func (a *agentUnderTest) write(text string) {
	a.t.Helper()
	place(a.t, a.dir, "a.hcl", a.head+strings.ReplaceAll(text, "DIR", a.dir))
}

func (a *agentUnderTest) reload(text string) {
	a.t.Helper()
	a.write(text)
	if err := a.job.reload(a.t.Context()); err != nil {
		a.t.Fatalf("%v\n%s", err, text)
	}
}

const agentLogin = `auto_auth {
  method "approle" {
    max_backoff = "%dm"
    config = { role_id_file_path = "DIR/role" secret_id_file_path = "DIR/secret" remove_secret_id_file_after_reading = false }
  }
  sink "file" { config = { path = "DIR/token" } }
}
listener "unix" {
  address = "DIR/s"
  tls_disable = true
}
template {
  contents = "{{ with secret \"secret/a\" }}{{ .Data.data.key }}{{ end }}"
  destination = "DIR/out"
}
`

func (a *agentUnderTest) tcp(secure bool) string {
	return fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  tls_disable = %v\n  tls_cert_file = \"DIR/cert\"\n  tls_key_file = \"DIR/key\"\n}\n", a.port, !secure)
}

// ask asks the listener for Vault's health.
func (a *agentUnderTest) ask(scheme string) error {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // its own certificate
	var to string
	if scheme != "unix" {
		to = a.port
	} else {
		scheme, to = "http", "socket"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
		}
	}
	defer t.CloseIdleConnections()
	answer, err := (&http.Client{Transport: t}).Get(scheme + "://" + to + "/v1/sys/health")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// TestReloadListeners: listeners come, go, move and change between plain and TLS on the
// same address; one that stays loses no request meanwhile.
func TestReloadListeners(t *testing.T) {
	login := fmt.Sprintf(agentLogin, 5)
	a := startAgent(t, func(*agentUnderTest) string { return login })
	var asked, failed atomic.Int64
	var first atomic.Pointer[error]
	crowd, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for crowd.Err() == nil {
				asked.Add(1)
				if err := a.ask("unix"); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	if err := a.ask("http"); err == nil {
		t.Error("a listener nobody asked for")
	}
	for _, step := range []struct {
		text        string
		works, gone string
	}{
		{login + a.tcp(false), "http", "https"},
		{login + a.tcp(true), "https", "http"},
		{login + a.tcp(false), "http", "https"},
		{fmt.Sprintf(agentLogin, 6) + a.tcp(true), "https", "http"}, // and another login
		{login, "unix", "https"},
		{login + a.tcp(true), "https", "http"},
	} {
		a.reload(step.text)
		if err := a.ask(step.works); err != nil {
			t.Errorf("%s: %v with\n%s", step.works, err, step.text)
		}
		if err := a.ask(step.gone); err == nil {
			t.Errorf("%s still works with\n%s", step.gone, step.text)
		}
	}
	before := a.port
	a.port = freePort(t)
	a.reload(login + a.tcp(true))
	if err := a.ask("https"); err != nil {
		t.Errorf("moved to another port: %v", err)
	}
	a.port = before
	if err := a.ask("https"); err == nil {
		t.Error("it still listens where it was")
	}
	stop()
	work.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed, first with %v", failed.Load(), asked.Load(), *first.Load())
	}
}

// TestReloadAHundredTimes: nothing is left of the configurations before: no goroutine, no
// descriptor, no memory.
func TestReloadAHundredTimes(t *testing.T) {
	a := startAgent(t, func(*agentUnderTest) string { return fmt.Sprintf(agentLogin, 5) })
	text := func(i int) string {
		s := fmt.Sprintf(agentLogin, 5+i/10%2) + fmt.Sprintf("log_level = %q\n", []string{"info", "debug"}[i%2])
		s += fmt.Sprintf("template_config { static_secret_render_interval = \"%dm\" }\n", 1+i%3)
		if i%2 == 0 {
			s += "template {\n  contents = \"{{ with secret \\\"secret/a\\\" }}2{{ .Data.data.key }}{{ end }}\"\n  destination = \"DIR/more\"\n}\n"
		}
		if i%3 > 0 {
			s += a.tcp(i%3 == 1)
		}
		return s
	}
	for i := range 20 {
		a.reload(text(i))
	}
	before := a.used(0)
	for i := range 100 {
		a.reload(text(i))
	}
	a.reload(text(19))
	now := a.used(before.goroutines)
	for end := time.Now().Add(patience); now.heap > before.heap+1<<20 && time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		now = a.used(before.goroutines) // the last of them may have ended a moment ago
	}
	t.Logf("before %+v, after %+v", before, now)
	if now.goroutines > before.goroutines+2 || now.descriptors > before.descriptors+2 || now.heap > before.heap+1<<20 {
		stacks := make([]byte, 1<<20)
		t.Errorf("%s", stacks[:runtime.Stack(stacks, true)])
	}
}

type usage struct {
	goroutines, descriptors int
	heap                    uint64
}

// used is what the process uses once it rests, or has no more goroutines than enough.
func (a *agentUnderTest) used(enough int) usage {
	var m runtime.MemStats
	last, since := 0, time.Now()
	for end := time.Now().Add(patience); time.Now().Before(end) && time.Since(since) < 2*time.Second; <-time.After(20 * time.Millisecond) {
		if n := runtime.NumGoroutine(); n <= enough {
			break
		} else if n != last {
			last, since = n, time.Now()
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&m)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		a.t.Log(err) // not on this system
	}
	return usage{runtime.NumGoroutine(), len(open), m.HeapAlloc}
}
