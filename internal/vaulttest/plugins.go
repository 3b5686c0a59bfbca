package vaulttest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/hashicorp/vault/api"
)

// loginPlugins holds all of Vault's own login plugins; its argument chooses one.
const loginPlugins = "authplugins"

// WithLoginPlugins lets the server find the login plugins that make vault-auth
// builds, which a minimal Vault does not contain.
func WithLoginPlugins(t T) Option {
	t.Helper()
	return withPlugin(t, loginPlugins, PartLoginPlugins)
}

// LoginPlugin mounts one of Vault's own login plugins at auth/KIND until t ends, in a
// process of its own that finds env (NAME=value) in its environment. The server must
// run WithLoginPlugins.
func (s *Server) LoginPlugin(t T, kind string, env ...string) {
	t.Helper()
	name := "own-" + kind
	s.registerPlugin(t, &api.RegisterPluginInput{Name: name, Type: api.PluginTypeCredential, Command: loginPlugins, Args: []string{kind}, Env: env})
	s.Write(t, "sys/auth/"+kind, map[string]any{"type": name})
	t.Cleanup(func() { _, _ = s.client.Logical().Delete("sys/auth/" + kind) })
}

// LoginPlugins returns the program that make vault-auth builds.
func LoginPlugins(t T) string {
	t.Helper()
	return filepath.Join(pluginDir(t, loginPlugins, PartLoginPlugins), loginPlugins)
}

// withPlugin lets the server run the programs in bin/plugins.
func withPlugin(t T, program, part string) Option {
	t.Helper()
	return Plugins(pluginDir(t, program, part))
}

// pluginDir is where program is; part is the make target that builds it.
func pluginDir(t T, program, part string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatalf("find plugins: %v", err)
	}
	dir := filepath.Join(root, "bin", "plugins")
	if !exists(filepath.Join(dir, program)) {
		Missing(t, part, "run make "+part)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil { // Vault refuses a program behind a link
		dir = real
	}
	return dir
}

func (s *Server) registerPlugin(t T, p *api.RegisterPluginInput) {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(s.options.pluginDir, p.Command))
	if err != nil {
		t.Fatalf("register plugin: %v", err)
	}
	sum := sha256.Sum256(binary)
	p.SHA256 = hex.EncodeToString(sum[:])
	if err := s.client.Sys().RegisterPlugin(p); err != nil {
		t.Fatalf("register plugin %s: %v", p.Name, err)
	}
}
