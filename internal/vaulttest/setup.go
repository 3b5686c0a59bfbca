package vaulttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Write writes data at path with the root token.
func (s *Server) Write(t T, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := s.write(path, data)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return answer
}

// Read reads path with the root token; nil when there is nothing.
func (s *Server) Read(t T, path string) *api.Secret {
	t.Helper()
	answer, err := s.client.Logical().Read(path)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return answer
}

// Delete deletes path with the root token.
func (s *Server) Delete(t T, path string) {
	t.Helper()
	if _, err := s.client.Logical().Delete(path); err != nil {
		t.Fatalf("delete %s: %v", path, err)
	}
}

// Mount mounts a secrets engine of the given type ("kv", "pki", "ssh", …).
func (s *Server) Mount(t T, path, kind string, opts map[string]string) {
	t.Helper()
	if err := s.client.Sys().Mount(path, &api.MountInput{Type: kind, Options: opts}); err != nil {
		t.Fatalf("mount %s at %s: %v", kind, path, err)
	}
}

// PutKV1 writes a secret of KV version 1; path as read ("kv1/app").
func (s *Server) PutKV1(t T, path string, data map[string]any) {
	t.Helper()
	s.Write(t, path, data)
}

// PutKV2 writes a new version and returns its number; path without "data/" and
// below a mount of one segment ("secret/app").
func (s *Server) PutKV2(t T, path string, data map[string]any) int {
	t.Helper()
	mount, rest, _ := strings.Cut(path, "/")
	answer := s.Write(t, mount+"/data/"+rest, map[string]any{"data": data})
	number, ok := answer.Data["version"].(json.Number)
	if !ok {
		t.Fatalf("write %s: answer has no version", path)
	}
	version, err := number.Int64()
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return int(version)
}

// Policy writes a policy.
func (s *Server) Policy(t T, name, rules string) {
	t.Helper()
	if err := s.client.Sys().PutPolicy(name, rules); err != nil {
		t.Fatalf("write policy %s: %v", name, err)
	}
}

// Token makes a service token with the given policies; params ("ttl", "period",
// "num_uses", "type", …) are those of auth/token/create and may be nil.
func (s *Server) Token(t T, params map[string]any, policies ...string) string {
	t.Helper()
	body := map[string]any{"policies": policies}
	maps.Copy(body, params)
	return s.Write(t, "auth/token/create", body).Auth.ClientToken
}

// TokenAlive reports whether Vault still knows the token.
func (s *Server) TokenAlive(t T, token string) bool {
	t.Helper()
	_, err := s.client.Auth().Token().Lookup(token)
	if err == nil {
		return true
	}
	if answer := (*api.ResponseError)(nil); errors.As(err, &answer) && answer.StatusCode == 403 {
		return false
	}
	t.Fatalf("look up token: %v", err)
	return false
}

// Accessors lists every live token's accessor.
func (s *Server) Accessors(t T) []string {
	t.Helper()
	return s.keys(t, "auth/token/accessors")
}

// Leases lists the ids of the live leases below a prefix ("ssh/creds/otp").
func (s *Server) Leases(t T, prefix string) []string {
	t.Helper()
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	var ids []string
	for _, key := range s.keys(t, "sys/leases/lookup/"+prefix) {
		if strings.HasSuffix(key, "/") {
			ids = append(ids, s.Leases(t, prefix+key)...)
			continue
		}
		ids = append(ids, prefix+key)
	}
	return ids
}

func (s *Server) keys(t T, path string) []string {
	t.Helper()
	answer, err := s.client.Logical().List(path)
	if err != nil {
		t.Fatalf("list %s: %v", path, err)
	}
	if answer == nil {
		return nil
	}
	list, _ := answer.Data["keys"].([]any)
	keys := make([]string, 0, len(list))
	for _, key := range list {
		keys = append(keys, fmt.Sprint(key))
	}
	return keys
}

// Role is an AppRole with one secret id.
type Role struct {
	Name, ID, SecretID string
}

// AppRole makes a role with the given policies at auth/approle. params are those
// of auth/approle/role/NAME ("token_ttl", "token_max_ttl", "secret_id_num_uses",
// "token_type", …) and may be nil.
func (s *Server) AppRole(t T, params map[string]any, policies ...string) Role {
	t.Helper()
	role := s.nextRole(t)
	body := map[string]any{"token_policies": policies}
	maps.Copy(body, params)
	s.Write(t, "auth/approle/role/"+role.Name, body)
	id, _ := s.Read(t, "auth/approle/role/"+role.Name+"/role-id").Data["role_id"].(string)
	role.ID, role.SecretID = id, s.SecretID(t, role)
	return role
}

func (s *Server) nextRole(t T) Role {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enableAuth(t, "approle")
	s.roles++
	return Role{Name: fmt.Sprintf("role%d", s.roles)}
}

// SecretID makes one more secret id for the role.
func (s *Server) SecretID(t T, role Role) string {
	t.Helper()
	id, _ := s.Write(t, "auth/approle/role/"+role.Name+"/secret-id", nil).Data["secret_id"].(string)
	return id
}

// WrappedSecretID makes one more secret id and returns it response-wrapped: a
// token that unwraps to it once, within ttl.
func (s *Server) WrappedSecretID(t T, role Role, ttl time.Duration) string {
	t.Helper()
	wrapping, err := s.newClient(s.RootToken)
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	defer wrapping.CloneConfig().HttpClient.CloseIdleConnections()
	wrapping.SetWrappingLookupFunc(func(string, string) string { return ttl.String() })
	path := "auth/approle/role/" + role.Name + "/secret-id"
	answer, err := wrapping.Logical().Write(path, nil)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return answer.WrapInfo.Token
}

func (s *Server) enableAuth(t T, kind string) {
	t.Helper()
	mounts, err := s.client.Sys().ListAuth()
	if err != nil {
		t.Fatalf("list auth methods: %v", err)
	}
	if mounts[kind+"/"] != nil {
		return
	}
	if err := s.client.Sys().EnableAuthWithOptions(kind, &api.EnableAuthOptions{Type: kind}); err != nil {
		t.Fatalf("enable auth method %s: %v", kind, err)
	}
}
