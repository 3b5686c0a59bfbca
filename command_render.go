package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/internal/files"
	"github.com/envexec/envexec/secret"
	"github.com/envexec/envexec/supervise"
)

// renderTimeout is how long render waits for Vault unless --start-timeout says more.
const renderTimeout = time.Minute

// runRender prints what the program would get, starts nothing and writes no file but
// the one it is asked for. Leases it makes are revoked, as is its own login.
func runRender(ctx context.Context, cfg *config.Config, env environ.Environ, sigs *supervise.Signals, stdout, stderr io.Writer) (int, error) {
	out, err := newRendering(cfg, env, stdout, stderr)
	if err != nil {
		return 0, err
	}
	logging, err := newLogging(cfg.Log, stderr)
	if err != nil {
		return 0, err
	}
	defer logging.close()
	log := logging.log
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "problem", w.Error())
	}
	if cfg.Login.Settings["secret_id_response_wrapping_path"] != nil {
		return 0, misconfigured{errors.New("the secret id is response-wrapped: render would use it up; give VAULT_TOKEN instead")}
	}
	onlyRead(cfg)
	j := &job{cfg: cfg, env: env, log: log, logging: logging, sigs: sigs}
	if j.vault, err = newVaultSide(cfg, env, log, nil); err != nil {
		return 0, err
	}
	if j.vault == nil || j.vault.reading == nil {
		return 0, &config.UsageError{Message: "nothing to render", Hint: "name secrets with --env, --from, --file or --config"}
	}
	status, err := j.once(ctx, func(_ context.Context, g envtemplate.Generation) error { return out.write(g) })
	end, cancel := context.WithTimeout(ctx, revokePatience)
	defer cancel()
	j.vault.lookout.revoke(end)
	j.revoke(ctx)
	if err != nil {
		return 0, err
	}
	return j.finish(status), nil
}

// onlyRead leaves of a configuration what is needed to read secrets once.
func onlyRead(cfg *config.Config) {
	cfg.Sinks, cfg.Listeners, cfg.Program, cfg.Cache = nil, nil, config.Program{}, config.Cache{}
	cfg.Login.ProgramToken, cfg.Start.ExitAfterAuth, cfg.Start.Once = false, false, true
	cfg.Login.Settings = leaveFiles(cfg.Login)
	if cfg.Start.Timeout == 0 {
		cfg.Start.Timeout = renderTimeout
	}
}

// leaseLookout stands between the renderer and the store: it says before a secret is
// read that this may make a lease, and revokes the leases that were made.
type leaseLookout struct {
	envtemplate.Source
	vault *vaultSide

	mu     sync.Mutex
	told   map[secret.Key]bool
	leases []*secret.Secret
}

// unleased are the secrets engines whose answers never have a lease.
var unleased = []string{"kv", "generic", "cubbyhole", "transit", "totp", "system", "identity"}

// Get implements envtemplate.Source.
func (l *leaseLookout) Get(ctx context.Context, req secret.Request) (*secret.Secret, error) {
	l.announce(ctx, req)
	s, err := l.Source.Get(ctx, req)
	if err == nil && s.LeaseID != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !slices.Contains(l.leases, s) {
			l.leases = append(l.leases, s)
		}
	}
	return s, err
}

func (l *leaseLookout) announce(ctx context.Context, req secret.Request) {
	select {
	case <-l.vault.delivered:
	case <-ctx.Done():
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[req.Key()] {
		return
	}
	if l.told == nil {
		l.told = map[secret.Key]bool{}
	}
	l.told[req.Key()] = true
	engine := "unknown"
	if s, err := l.send(ctx, http.MethodGet, "sys/internal/ui/mounts/"+req.Path, nil); err == nil {
		name, _ := s["type"].(string)
		if slices.Contains(unleased, name) {
			return
		}
		engine = name
	}
	l.vault.log.Warn("reading this may make a lease", "secret", req.String(), "engine", engine, "revoked_at_the_end", l.vault.cfg.Login.Revoke)
}

// revoke ends the leases that do not end with a login of our own.
func (l *leaseLookout) revoke(ctx context.Context) {
	t, ok := l.vault.session.Token()
	if !ok || t.Own || !l.vault.cfg.Login.Revoke {
		return
	}
	for _, s := range l.leases {
		if _, err := l.send(ctx, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": s.LeaseID}); err != nil {
			l.vault.log.Warn("a lease could not be revoked, it ends by itself", "secret", s.Request.String(), "ends_in", s.LeaseTTL, "error", err)
		}
	}
}

// send asks Vault with the session's token.
func (l *leaseLookout) send(ctx context.Context, verb, path string, body map[string]any) (map[string]any, error) {
	t, ok := l.vault.session.Token()
	if !ok {
		return nil, errors.New("not logged in")
	}
	client := l.vault.client.WithNamespace(t.Namespace)
	client.SetToken(t.ID.Reveal())
	s, err := method.Send(ctx, client, verb, path, body)
	if err != nil || s == nil {
		return nil, err
	}
	return s.Data, nil
}

// gitlabMost is the size of a dotenv report that GitLab takes by default.
const gitlabMost = 5 << 10

// rendering is where a Generation is printed, and how.
type rendering struct {
	format string
	values bool
	to     string // file; "" = stdout
	masks  io.Writer
	stdout io.Writer
	stderr io.Writer
}

func newRendering(cfg *config.Config, env environ.Environ, stdout, stderr io.Writer) (*rendering, error) {
	r := &rendering{format: cfg.Check.Format, values: cfg.Check.ShowValues, to: cfg.Check.Output, stdout: stdout, stderr: stderr}
	switch r.format {
	case "":
		r.format = "names"
	case "github":
		if r.to == "" {
			r.to, _ = env.Get("GITHUB_ENV")
		}
		if r.to == "" {
			return nil, &config.UsageError{Message: "format github writes to the file $GITHUB_ENV names, which is not set", Hint: "run it in a GitHub Actions step, or name a file with --output"}
		}
		r.masks = stdout
		return r, nil
	case "env", "dotenv", "gitlab":
		if !r.values && r.to == "" {
			return nil, &config.UsageError{Message: fmt.Sprintf("format %s prints secrets", r.format), Hint: "add --show-values, or --output FILE to write them to a private file"}
		}
	}
	return r, nil
}

// write prints g.
func (r *rendering) write(g envtemplate.Generation) error {
	text, err := r.text(g)
	if err != nil {
		return err
	}
	if r.masks != nil { // before anything else can print them
		if _, err := io.WriteString(r.masks, githubMasks(g.Vars)); err != nil {
			return fmt.Errorf("print the masks: %w", err)
		}
	}
	if len(g.Files) > 0 && r.format != "names" && r.format != "json" {
		fmt.Fprintf(r.stderr, "envexec: format %s has no place for files: %d left out\n", r.format, len(g.Files))
	}
	if r.format == "gitlab" && len(text) > gitlabMost {
		fmt.Fprintf(r.stderr, "envexec: the report has %d bytes, and GitLab takes %d unless its administrator allows more\n", len(text), gitlabMost)
	}
	switch {
	case r.to == "":
		_, err = io.WriteString(r.stdout, text)
	case r.masks != nil:
		err = appendFile(r.to, text)
	default:
		err = replaceFile(r.to, text)
	}
	if err != nil {
		return fmt.Errorf("write what was rendered: %w", err)
	}
	return nil
}

func appendFile(path, text string) error {
	f, err := files.OpenPrivate(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// replaceFile puts a private file in place at once. What is no plain file, /dev/stdout
// or a pipe, is written to.
func replaceFile(path, text string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		return errors.Join(err, f.Close())
	}
	temp, err := files.CreateTemp(filepath.Dir(path), ".envexec-*", 0o600, "")
	if err != nil {
		return err
	}
	_, err = temp.WriteString(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = files.Replace(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}
