package auth_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/auth/method/all"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// TestRealVault runs every method the server at hand has, and what a session does with the tokens.
func TestRealVault(t *testing.T) {
	v := vaulttest.Start(t)
	v.Policy(t, "app", `path "secret/*" { capabilities = ["read"] }`)
	for name, test := range map[string]func(*testing.T, *vaulttest.Server){
		"wrapped secret id":      wrappedSecretID,
		"wrapping token used":    wrappingTokenUsed,
		"wrapping token planted": wrappingTokenPlanted,
		"wrong secret id":        wrongSecretID,
		"role id alone":          roleIDAlone,
		"maximum":                atTheMaximum,
		"revoked":                afterRevocation,
		"use-limited":            useLimited,
		"batch":                  batch,
		"thin policy":            thinPolicy,
		"periodic":               periodic,
		"given token":            givenToken,
		"wrapped login":          wrappedLogin,
		"userpass":               userpass,
		"jwt":                    jwtOwnIssuer,
		"cancelled login":        cancelledLogin,
	} {
		t.Run(name, func(t *testing.T) {
			if name != "wrong secret id" && name != "cancelled login" { // these count requests and tokens
				t.Parallel() // most of the time they wait
			}
			test(t, v)
		})
	}
}

type tokens chan secret.Token

func (c tokens) WriteToken(_ context.Context, t secret.Token) error { c <- t; return nil }

func (c tokens) next(t *testing.T) secret.Token {
	t.Helper()
	select {
	case tok := <-c:
		return tok
	case <-time.After(20 * time.Second):
		t.Fatal("no token")
		return secret.Token{}
	}
}

// run starts a session by a method of the table; stop ends and closes it.
func run(t *testing.T, v *vaulttest.Server, name string, settings map[string]any, edit func(*auth.Config)) (*auth.Session, tokens, func()) {
	t.Helper()
	return runMethod(t, v, name, byName(t, name, settings, nil), edit)
}

// byName makes a method of the table that finds env in its environment.
func byName(t *testing.T, name string, settings map[string]any, env map[string]string) auth.Method {
	t.Helper()
	m, err := all.New(name, settings, all.Options{Env: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func runMethod(t *testing.T, v *vaulttest.Server, name string, m auth.Method, edit func(*auth.Config)) (*auth.Session, tokens, func()) {
	t.Helper()
	got := make(tokens, 50)
	c := auth.Config{Client: v.ClientFor(t, ""), Method: m, MountPath: "auth/" + name, Sinks: []auth.Sink{got}, Revoke: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if edit != nil {
		edit(&c)
	}
	s, err := auth.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		err := s.Run(ctx)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		done <- err
	}()
	stop := func() {
		cancel()
		<-done
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	return s, got, stop
}

// fails runs a session that must end by itself.
func fails(t *testing.T, v *vaulttest.Server, name string, settings map[string]any) error {
	t.Helper()
	return failsMethod(t, v, name, byName(t, name, settings, nil))
}

func failsMethod(t *testing.T, v *vaulttest.Server, name string, m auth.Method) error {
	t.Helper()
	s, err := auth.New(auth.Config{Client: v.ClientFor(t, ""), Method: m, MountPath: "auth/" + name})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.Run(ctx)
}

func appRole(t *testing.T, v *vaulttest.Server, params map[string]any) map[string]any {
	t.Helper()
	role := v.AppRole(t, params, "app")
	return map[string]any{"role_id": secret.NewText(role.ID), "secret_id": secret.NewText(role.SecretID)}
}

func wrappedSettings(t *testing.T, v *vaulttest.Server) (settings map[string]any, file string) {
	t.Helper()
	role := v.AppRole(t, nil, "app")
	file = filepath.Join(t.TempDir(), "secret-id")
	authtest.WriteFile(t, file, v.WrappedSecretID(t, role, time.Minute)+"\n")
	return map[string]any{
		"role_id": role.ID, "secret_id_file_path": file,
		"secret_id_response_wrapping_path": "auth/approle/role/" + role.Name + "/secret-id",
	}, file
}

func wrappedSecretID(t *testing.T, v *vaulttest.Server) {
	settings, file := wrappedSettings(t, v)
	s, got, stop := run(t, v, "approle", settings, nil)
	first := got.next(t)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("the secret id file is still there")
	}
	s.Invalid(first) // the spent wrapping token must not be unwrapped again
	if second := got.next(t); second.Epoch != 2 {
		t.Errorf("epoch %d after a second login", second.Epoch)
	}
	stop()
}

func wrappingTokenUsed(t *testing.T, v *vaulttest.Server) {
	settings, file := wrappedSettings(t, v)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.ClientFor(t, "").Logical().Unwrap(string(b[:len(b)-1])); err != nil {
		t.Fatal(err)
	}
	var we *method.WrappingError
	if err := fails(t, v, "approle", settings); !errors.As(err, &we) || we.Created != "" {
		t.Errorf("Run: %v, want a WrappingError", err)
	}
}

func wrappingTokenPlanted(t *testing.T, v *vaulttest.Server) {
	settings, _ := wrappedSettings(t, v)
	settings["secret_id_response_wrapping_path"] = "auth/approle/role/another/secret-id"
	var we *method.WrappingError
	if err := fails(t, v, "approle", settings); !errors.As(err, &we) || we.Created == "" {
		t.Errorf("Run: %v, want a WrappingError with the creation path", err)
	}
}

func roleIDAlone(t *testing.T, v *vaulttest.Server) {
	v.AppRole(t, nil, "app") // mounts the method
	v.Write(t, "auth/approle/role/alone", map[string]any{"bind_secret_id": false, "token_bound_cidrs": "127.0.0.0/8", "token_policies": "app"})
	id, _ := v.Read(t, "auth/approle/role/alone/role-id").Data["role_id"].(string)
	file := filepath.Join(t.TempDir(), "role-id")
	authtest.WriteFile(t, file, id+"\n")
	_, got, stop := run(t, v, "approle", map[string]any{"role_id_file_path": file}, nil)
	got.next(t)
	stop()
}

func wrongSecretID(t *testing.T, v *vaulttest.Server) {
	settings := appRole(t, v, nil)
	settings["secret_id"] = "not-the-secret-id"
	mark := v.Mark(t)
	var de *auth.DeniedError
	if err := fails(t, v, "approle", settings); !errors.As(err, &de) || de.Status != 400 {
		t.Errorf("Run: %v, want a DeniedError", err)
	}
	if n := len(v.AuditLog(t, mark)); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func atTheMaximum(t *testing.T, v *vaulttest.Server) {
	s, got, stop := run(t, v, "approle", appRole(t, v, map[string]any{"token_ttl": "5s", "token_max_ttl": "10s"}), nil)
	first, second := got.next(t), got.next(t)
	if d := second.At.Sub(first.At); d < 5*time.Second { // that it comes in time is tested on a clock that cannot be late
		t.Errorf("replaced after %s, want after a renewal", d)
	}
	s.Retire(second.Epoch)
	stop()
	if v.TokenAlive(t, second.ID.Reveal()) {
		t.Error("the token outlived Close")
	}
}

func afterRevocation(t *testing.T, v *vaulttest.Server) {
	s, got, stop := run(t, v, "approle", appRole(t, v, nil), nil)
	first := got.next(t)
	v.Write(t, "auth/token/revoke", map[string]any{"token": first.ID.Reveal()})
	s.Invalid(first)
	if second := got.next(t); !v.TokenAlive(t, second.ID.Reveal()) {
		t.Error("the new token does not live")
	}
	stop()
}

func useLimited(t *testing.T, v *vaulttest.Server) {
	s, got, stop := run(t, v, "approle", appRole(t, v, map[string]any{"token_num_uses": 2}), nil)
	first := got.next(t)
	if first.NumUses != 2 {
		t.Errorf("uses are %d, want 2", first.NumUses)
	}
	c := v.ClientFor(t, first.ID.Reveal())
	for range 2 {
		if _, err := c.Auth().Token().LookupSelf(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Auth().Token().LookupSelf()
	if !method.InvalidToken(err) {
		t.Fatalf("third use: %v, want an invalid token", err)
	}
	s.Invalid(first)
	got.next(t)
	stop()
}

func batch(t *testing.T, v *vaulttest.Server) {
	_, got, stop := run(t, v, "approle", appRole(t, v, map[string]any{"token_type": "batch", "token_ttl": "2s"}), nil)
	if first := got.next(t); first.Kind != "batch" || first.Renewable {
		t.Errorf("kind %q, renewable %v", first.Kind, first.Renewable)
	}
	got.next(t) // replaced without a renewal
	stop()
}

func thinPolicy(t *testing.T, v *vaulttest.Server) {
	m, err := all.New("approle", appRole(t, v, map[string]any{"token_no_default_policy": true, "token_ttl": "2s"}), all.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(tokens, 9)
	s, err := auth.New(auth.Config{Client: v.ClientFor(t, ""), Method: m, Sinks: []auth.Sink{got}, Revoke: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	got.next(t)
	got.next(t)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(context.Background()); err == nil {
		t.Error("a refused revocation is not said")
	}
}

func periodic(t *testing.T, v *vaulttest.Server) {
	renewed := make(chan error, 50)
	_, got, stop := run(t, v, "approle", appRole(t, v, map[string]any{"token_period": "1s"}), func(c *auth.Config) {
		c.Trace.OnRenew = func(_ secret.Token, err error) { renewed <- err }
	})
	got.next(t)
	for range 3 {
		if err := <-renewed; err != nil {
			t.Error(err)
		}
	}
	if len(got) > 0 {
		t.Error("a periodic token was replaced")
	}
	stop()
}

func givenToken(t *testing.T, v *vaulttest.Server) {
	file := filepath.Join(t.TempDir(), "token")
	one, two := v.Token(t, map[string]any{"ttl": "1h"}, "app"), v.Token(t, map[string]any{"no_default_policy": true}, "app")
	authtest.WriteFile(t, file, one)
	_, got, stop := run(t, v, "token_file", map[string]any{"token_file_path": file}, nil)
	if first := got.next(t); first.Own || first.Kind != "service" || first.TTL > time.Hour || first.TTL < 59*time.Minute {
		t.Errorf("token: %+v", first)
	}
	authtest.WriteFile(t, file, two) // thin: may not look itself up
	if second := got.next(t); second.ID.Reveal() != two {
		t.Error("the new token in the file was not taken up")
	}
	stop()
	if !v.TokenAlive(t, one) || !v.TokenAlive(t, two) {
		t.Error("a given token was revoked")
	}
	var de *auth.DeniedError
	if err := fails(t, v, "token", map[string]any{"token": secret.NewText("hvs.unknown")}); !errors.As(err, &de) {
		t.Errorf("an unknown token: %v, want a DeniedError", err)
	}
}

func wrappedLogin(t *testing.T, v *vaulttest.Server) {
	_, got, stop := run(t, v, "approle", appRole(t, v, nil), func(c *auth.Config) { c.WrapTTL = time.Minute })
	var info api.SecretWrapInfo
	if err := json.Unmarshal([]byte(got.next(t).ID.Reveal()), &info); err != nil {
		t.Fatal(err)
	}
	stop()
	s, err := v.ClientFor(t, "").Logical().Unwrap(info.Token)
	if err != nil || !v.TokenAlive(t, s.Auth.ClientToken) {
		t.Errorf("the wrapped token does not live: %v", err)
	}
}

func userpass(t *testing.T, v *vaulttest.Server) {
	v.Write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	v.Write(t, "auth/userpass/users/grace", map[string]any{"password": "pass word", "token_policies": "app"})
	_, got, stop := run(t, v, "userpass", map[string]any{"username": "grace", "password": secret.NewText("pass word")}, nil)
	got.next(t)
	stop()
}

// jwtOwnIssuer: Vault fetches the issuer's keys from a loopback server.
func jwtOwnIssuer(t *testing.T, v *vaulttest.Server) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	}))
	t.Cleanup(issuer.Close)
	lasting := func(subject string, life time.Duration) string {
		s, err := method.SignJWT(key, map[string]any{"kid": "one"}, map[string]any{
			"iss": "test", "aud": "vault", "sub": subject, "exp": time.Now().Add(life).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix(), "nbf": time.Now().Add(-2 * time.Hour).Unix(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	token := func(subject string) string { return lasting(subject, time.Hour) }
	v.Write(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	v.Write(t, "auth/jwt/config", map[string]any{"jwks_url": issuer.URL})
	v.Write(t, "auth/jwt/role/ci", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "app", "bound_claims": map[string]any{"sub": []string{"one", "two"}},
	})
	file := filepath.Join(t.TempDir(), "jwt")
	authtest.WriteFile(t, file, token("one")+"\n")
	_, got, stop := run(t, v, "jwt", map[string]any{"role": "ci", "path": file}, func(c *auth.Config) { c.Reauth = true })
	first := got.next(t)
	authtest.WriteFile(t, file, token("two"))
	if second := got.next(t); second.ID.Equal(first.ID) {
		t.Error("a new jwt gave the same token")
	}
	stop()
	// One that has expired is denied, once; a fresh one ends the wait.
	authtest.WriteFile(t, file, token("one"))
	denied := make(chan time.Time, 9)
	s, got, stop := run(t, v, "jwt", map[string]any{"role": "ci", "path": file, "remove_jwt_after_reading": false}, func(c *auth.Config) {
		c.Trace.OnFailure = func(err error, retry time.Time) {
			if re := new(api.ResponseError); !errors.As(err, &re) || re.StatusCode != http.StatusBadRequest {
				t.Errorf("an expired jwt: %v", err)
			}
			denied <- retry
		}
	})
	first = got.next(t)
	authtest.WriteFile(t, file, lasting("one", -time.Hour))
	s.Invalid(first)
	if retry := <-denied; time.Until(retry) < 10*time.Minute {
		t.Errorf("an expired jwt is tried again in %s", time.Until(retry))
	}
	authtest.WriteFile(t, file, token("one"))
	got.next(t)
	stop()
	// The tokens CI systems give their jobs are of the same kind.
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer job" || r.URL.Query().Get("audience") != "vault" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": token("one")})
	}))
	t.Cleanup(github.Close)
	env := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": github.URL + "/?v=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job", "VAULT_ID_TOKEN": token("two")}
	for name, settings := range map[string]map[string]any{"github_actions": {"role": "ci", "audience": "vault"}, "gitlab": {"role": "ci"}} {
		_, got, stop := runMethod(t, v, "jwt", byName(t, name, settings, env), nil)
		got.next(t)
		stop()
	}
	var de *auth.DeniedError
	if err := fails(t, v, "jwt", map[string]any{"role": "ci", "jwt": token("three")}); !errors.As(err, &de) {
		t.Errorf("a jwt of another subject: %v, want a DeniedError", err)
	}
}

// cancelledLogin: a token that arrives while the session ends is not left behind.
func cancelledLogin(t *testing.T, v *vaulttest.Server) {
	before := len(v.Accessors(t))
	for range 20 {
		_, _, stop := run(t, v, "approle", appRole(t, v, nil), nil)
		stop()
	}
	if after := len(v.Accessors(t)); after > before+1 { // Vault may finish a request we gave up
		t.Errorf("%d tokens left behind", after-before)
	}
}
