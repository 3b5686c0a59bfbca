package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	startLimit = 60 * time.Second // generous: CI machines are slow, and success does not wait
	stopLimit  = 20 * time.Second
	pollEvery  = 10 * time.Millisecond
)

// Server is a running Vault with one unseal key, a file audit device, KV
// version 2 at secret/ and KV version 1 at kv1/.
type Server struct {
	Addr      string // http://127.0.0.1:port
	RootToken string
	CACert    string // a PEM file, of a TLS server; "" = plain HTTP
	Mutual    Mutual // of a MutualTLS server

	options options
	binary  string
	dir     string
	port    int
	unseal  string
	process *command
	client  *api.Client
	mu      sync.Mutex // parallel tests share a server
	roles   int
}

type options struct {
	binary    string // "" = Binary()
	durable   bool
	tls       bool
	mutual    bool
	pluginDir string
	node      string // raft's name for it; "" = one
	join      string // address of the leader to join
}

// Option changes how Start runs the server.
type Option func(*options)

// Durable keeps the data on disk, so that Stop and Resume keep it. Such a server
// takes about 1.5 s to start instead of 0.2 s.
func Durable() Option { return func(o *options) { o.durable = true } }

// Plugins lets the server run the plugin binaries in dir, once registered.
func Plugins(dir string) Option { return func(o *options) { o.pluginDir = dir } }

// WithEvents runs the core of Vault 1.15 instead, which make vault115 builds: its
// community edition sends events. It has KV and AppRole only, and is not Durable.
func WithEvents(t T) Option {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatalf("find vault115: %v", err)
	}
	binary := filepath.Join(root, "bin", "vault115")
	if !exists(binary) {
		Missing(t, PartEvents, "run make vault115")
	}
	return func(o *options) { o.binary = binary }
}

// Start runs a Vault of its own for t and ends it with t. Without a Vault
// binary the test is skipped (see Missing).
func Start(t T, opts ...Option) *Server {
	t.Helper()
	s := &Server{dir: t.TempDir()}
	for _, opt := range opts {
		opt(&s.options)
	}
	if s.binary = s.options.binary; s.binary == "" {
		var err error
		if s.binary, err = Binary(); err != nil {
			Missing(t, PartVault, err.Error())
		}
	}
	t.Cleanup(func() { s.halt() })
	if err := s.first(); err != nil {
		t.Fatalf("start vault: %v\n%s", err, s.log())
	}
	if err := s.furnish(); err != nil {
		t.Fatalf("set up vault: %v\n%s", err, s.log())
	}
	return s
}

// first starts the server on a port nobody uses; between the look and Vault's
// own bind another process may take it, so a lost race is tried again.
func (s *Server) first() error {
	for attempt := 0; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port, s.Addr = port, "http://127.0.0.1:"+strconv.Itoa(port)
		if s.options.tls {
			s.Addr, s.CACert = "https://127.0.0.1:"+strconv.Itoa(port), filepath.Join(s.dir, "vault-ca.pem")
		}
		err = s.launch()
		if err == nil || attempt == 3 || !strings.Contains(s.log(), "address already in use") {
			return err
		}
	}
}

// freePort chooses below the ephemeral range of every system, so that no outgoing
// connection takes the port while the server is stopped. The next one is free too.
func freePort() (int, error) {
	for range 200 {
		port := 16000 + 2*rand.IntN(8000)
		if free(port) && free(port+1) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: none of 200 was free")
}

func free(port int) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// launch starts the process and waits until it answers as active.
func (s *Server) launch() error {
	args, err := s.arguments()
	if err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(s.dir, "vault.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(s.binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, logFile, logFile
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "VAULT_ADDR=", "VAULT_TOKEN=", "SKIP_SETCAP=1")
	if s.process, err = start(cmd); err != nil {
		return err
	}
	if s.options.tls {
		s.awaitCA()
	}
	if s.client, err = s.newClient(s.RootToken); err != nil {
		return err
	}
	if s.options.join != "" {
		return s.standby()
	}
	return s.awaken()
}

func (s *Server) arguments() ([]string, error) {
	if !s.options.durable {
		s.RootToken = "root"
		args := []string{"server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token",
			"-dev-listen-address=127.0.0.1:" + strconv.Itoa(s.port)}
		if s.options.tls {
			args = append(args, "-dev-tls", "-dev-tls-cert-dir="+s.dir)
		}
		if s.options.mutual {
			config, err := s.openMutual()
			if err != nil {
				return nil, err
			}
			args = append(args, "-config="+config)
		}
		if s.options.pluginDir != "" {
			args = append(args, "-dev-plugin-dir="+s.options.pluginDir, "-dev-plugin-init=false")
		}
		return args, nil
	}
	data, config := filepath.Join(s.dir, "data"), filepath.Join(s.dir, "vault.hcl")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	node, join := "one", ""
	if s.options.node != "" {
		node = s.options.node
	}
	if s.options.join != "" {
		join = fmt.Sprintf("retry_join {\n    leader_api_addr = %q\n  }", s.options.join)
	}
	text := fmt.Sprintf(`disable_mlock = true
api_addr = "http://127.0.0.1:%[1]d"
cluster_addr = "http://127.0.0.1:%[2]d"
plugin_directory = %[4]q
storage "raft" {
  path = %[3]q
  node_id = %[5]q
  performance_multiplier = 1
  %[6]s
}
listener "tcp" {
  address = "127.0.0.1:%[1]d"
  cluster_address = "127.0.0.1:%[2]d"
  tls_disable = true
}
`, s.port, s.port+1, data, s.options.pluginDir, node, join)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return []string{"server", "-config=" + config}, nil
}

// awaken brings a fresh process to the active state, initialising and unsealing
// it where that is ours to do.
func (s *Server) awaken() error {
	last := errors.New("still sealed")
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		if s.process.gone() {
			return fmt.Errorf("vault ended: %w", s.process.err)
		}
		health, err := s.client.Sys().Health()
		switch {
		case err != nil:
			last = err
		case !health.Initialized && s.options.durable:
			last = s.initialize()
		case health.Sealed && s.unseal != "":
			_, last = s.client.Sys().Unseal(s.unseal)
		case health.Initialized && !health.Sealed && !health.Standby:
			// Active is said a moment before the mounts answer.
			if _, last = s.client.Auth().Token().LookupSelf(); last == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("vault not active within %s: %w", startLimit, last)
}

func (s *Server) initialize() error {
	answer, err := s.client.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	s.unseal, s.RootToken = answer.Keys[0], answer.RootToken
	s.client.SetToken(s.RootToken)
	return nil
}

func (s *Server) furnish() error {
	sys := s.client.Sys()
	if s.options.durable {
		if err := sys.Mount("secret", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}); err != nil {
			return err
		}
	}
	if err := sys.Mount("kv1", &api.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}); err != nil {
		return err
	}
	if err := sys.EnableAuditWithOptions("file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": s.auditPath()},
	}); err != nil {
		return err
	}
	return s.kvReady()
}

// kvReady waits for the version 2 mount, which answers 400 while it sets itself up.
func (s *Server) kvReady() error {
	var err error
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		if _, err = s.client.Logical().Read("secret/config"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("wait for secret/: %w", err)
}

// Client returns a client of its own, with the root token and no retries.
func (s *Server) Client(t T) *api.Client {
	t.Helper()
	return s.ClientFor(t, s.RootToken)
}

// ClientFor returns a client with the given token ("" = none) and no retries.
func (s *Server) ClientFor(t T, token string) *api.Client {
	t.Helper()
	c, err := s.newClient(token)
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	t.Cleanup(c.CloneConfig().HttpClient.CloseIdleConnections)
	return c
}

// newClient reads nothing from the environment: tests set VAULT_* for others.
func (s *Server) newClient(token string) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address, config.MaxRetries, config.AgentAddress = s.Addr, 0, ""
	if s.CACert != "" {
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: s.CACert}); err != nil {
			return nil, err
		}
	}
	c, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	c.ClearNamespace()
	c.SetToken(token)
	return c, nil
}

// Pid returns the server's process id.
func (s *Server) Pid() int { return s.process.cmd.Process.Pid }

// Stop ends the server process. Only a Durable server can be resumed.
func (s *Server) Stop(t T) {
	t.Helper()
	s.halt()
}

func (s *Server) halt() {
	if s.client != nil {
		s.client.CloneConfig().HttpClient.CloseIdleConnections()
	}
	if s.process != nil && !s.process.gone() {
		s.process.stop(syscall.SIGTERM, stopLimit)
	}
}

// Resume starts a stopped Durable server again, on the same address with its data.
func (s *Server) Resume(t T) {
	t.Helper()
	if !s.options.durable {
		t.Fatalf("resume vault: it was not started as Durable, its data is gone")
	}
	if err := s.launch(); err != nil {
		t.Fatalf("resume vault: %v\n%s", err, s.log())
	}
	if err := s.kvReady(); err != nil {
		t.Fatalf("resume vault: %v", err)
	}
}

// Restart is Stop and Resume.
func (s *Server) Restart(t T) {
	t.Helper()
	s.Stop(t)
	s.Resume(t)
}

// Seal seals the server; it then answers 503.
func (s *Server) Seal(t T) {
	t.Helper()
	// A development server prints its key somewhat after it is ready.
	for end := time.Now().Add(startLimit); s.unseal == ""; time.Sleep(pollEvery) {
		_, after, _ := strings.Cut(s.log(), "Unseal Key: ")
		s.unseal, _, _ = strings.Cut(after, "\n")
		if time.Now().After(end) {
			t.Fatalf("seal vault: the key to unseal it was not printed")
		}
	}
	if err := s.client.Sys().Seal(); err != nil {
		t.Fatalf("seal vault: %v", err)
	}
}

// Unseal undoes Seal and returns when the server is active again.
func (s *Server) Unseal(t T) {
	t.Helper()
	if err := s.awaken(); err != nil {
		t.Fatalf("unseal vault: %v", err)
	}
	if err := s.kvReady(); err != nil {
		t.Fatalf("unseal vault: %v", err)
	}
}

// log returns what the server printed, for messages.
func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "vault.log"))
	if err != nil {
		return ""
	}
	return string(text)
}

func (s *Server) write(path string, data map[string]any) (*api.Secret, error) {
	return s.client.Logical().WriteWithContext(context.Background(), path, data)
}
