package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/lease/sealed"
	"github.com/envexec/envexec/proxy"
	"github.com/envexec/envexec/secret"
)

// sealedName is the sealed cache's file below cache.persist.path.
const sealedName = "envexec.sealed"

// The shares of the sealed cache: each has one user.
const (
	sealedSecrets = "secrets" // what the store read for the program
	sealedLogin   = "login"   // the session's token
	sealedAnswers = "answers" // what the listeners cached
)

// openSealed opens the sealed cache, nil when none is configured. The caller closes
// it after everybody who saves to it has ended.
func openSealed(c *config.Config, env environ.Environ, log *slog.Logger) (*sealed.File, error) {
	p := c.Cache.Persist
	if p.Type == "" {
		return nil, nil
	}
	keys, err := sealedKeys(p, env)
	if err != nil {
		return nil, fmt.Errorf("%s: cache.persist: %w", p.Pos, err)
	}
	if err := os.MkdirAll(p.Path, 0o700); err != nil {
		return nil, fmt.Errorf("%s: cache.persist: %w", p.Pos, err)
	}
	file, err := sealed.Open(sealed.Config{
		Path: filepath.Join(p.Path, sealedName), Keys: keys, Owner: sealedOwner(c), Strict: p.ExitOnErr, Logger: log,
	})
	switch {
	case errors.Is(err, sealed.ErrInUse) && !p.ExitOnErr:
		log.Error("another process has the sealed cache: starting without it", "path", p.Path)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: cache.persist: %w", p.Pos, err)
	}
	if p.KeepAfterImport == config.No && len(file.Load()) > 0 {
		return file, file.Forget()
	}
	return file, nil
}

func sealedKeys(p config.Persist, env environ.Environ) (sealed.KeySource, error) {
	switch p.Type {
	case "kubernetes":
		return sealed.Files(p.TokenFile), nil
	case "file":
		return sealed.Files(present(p.KeyFile, p.OldKeyFile)...), nil
	case "credential":
		dir, _ := env.Get("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, errors.New("no CREDENTIALS_DIRECTORY: systemd sets it for LoadCredential= and SetCredential=")
		}
		paths := present(p.Credential, p.OldCredential)
		for i := range paths {
			paths[i] = filepath.Join(dir, paths[i])
		}
		return sealed.Files(paths...), nil
	}
	var all []secret.Text
	for i, name := range present(p.PassphraseEnv, p.OldPassphraseEnv) {
		text, _ := env.Get(name)
		if text == "" && i == 0 {
			return nil, fmt.Errorf("variable %s, the passphrase, is not set", name)
		}
		if text != "" {
			all = append(all, secret.NewText(text))
		}
	}
	return sealed.Passphrases(all...), nil
}

// present leaves empty texts out.
func present(texts ...string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// sealedOwner tells caches of different servers and logins apart: another one's
// secrets must not be used when Vault is away.
func sealedOwner(c *config.Config) string {
	role, _ := c.Login.Settings["role"].(string)
	return strings.Join([]string{c.Vault.Address, c.Vault.Namespace, c.Login.Namespace, c.Login.Method, c.Login.MountPath, role}, "\n")
}

// shelve gives the store its share of the sealed cache.
func (v *vaultSide) shelve(cfg *lease.Config) {
	if v.sealed == nil {
		return
	}
	p := v.cfg.Cache.Persist
	cfg.Cache, cfg.CacheMaxAge = v.sealed.Part(sealedSecrets), p.MaxAge
	cfg.FallbackAfter = max(p.Fallback, time.Nanosecond)
}

// shelveAnswers gives the listeners' cache its share of the sealed cache.
func (v *vaultSide) shelveAnswers(cfg *proxy.Cache) {
	if v.sealed != nil && cfg != nil {
		cfg.Persist, cfg.PersistMaxAge = v.sealed.Part(sealedAnswers), v.cfg.Cache.Persist.MaxAge
	}
}

// keepLogin gives the session its share of the sealed cache. A login that cannot be
// repeated outlives the program's end, so that a restart has one.
func (v *vaultSide) keepLogin(cfg *auth.Config) {
	if v.sealed == nil {
		return
	}
	cfg.Keep, cfg.KeepFor = v.sealed.Part(sealedLogin), method.Fingerprint(fmt.Sprint(v.cfg.Login.Settings))
	if c, ok := cfg.Method.(method.Consumer); ok && c.Consumes() {
		cfg.Leave, v.revokes = true, false
	}
}

// loginFailed lets the store fall back to the sealed cache at once when there is no
// Vault to log in to. One that is slow, or fails, is given its time.
func (v *vaultSide) loginFailed(err error, _ time.Time) {
	v.doubtAddress(err)
	var denied *auth.DeniedError
	var answer *api.ResponseError
	switch {
	case errors.As(err, &denied):
		return
	case errors.As(err, &answer) && answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusNotImplemented:
		return
	}
	v.store.VaultDown(err)
}

// fallenBack is closed when a secret came from the sealed cache because Vault does not answer.
func (v *vaultSide) fallenBack() <-chan struct{} {
	if v.sealed == nil || v.reading == nil {
		return nil
	}
	return v.store.FallenBack()
}

// closeSealed ends the use of the sealed cache. revoked: our tokens are no more, so
// what hangs on them must not be used by a later start.
func (v *vaultSide) closeSealed(revoked bool) {
	if v == nil || v.sealed == nil {
		return
	}
	var err error
	if revoked && v.store != nil {
		err = v.store.Revoked()
	}
	if revoked && v.proxy != nil {
		err = errors.Join(err, v.proxy.Revoked())
	}
	if err := errors.Join(err, v.sealed.Close()); err != nil {
		v.log.Warn("sealed cache", "error", err)
	}
}
