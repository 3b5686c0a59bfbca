package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

const (
	limit = 30 * time.Second
	otp   = "ssh/creds/otp"
	creds = "kv-v2/creds"

	minUptime = time.Second // default 10s, too long for a demo
)

// stage is what the steps share.
type stage struct {
	vault    *vaulttest.Server
	role     vaulttest.Role
	dir      string
	app      string // the web program's binary
	wrapping string // the wrapped secret id's token
	wrapper  *wrapper
	before   []string // token accessors before the login
	accessor string   // of envexec's token
	first    answer   // the program's answer after the login
}

const policy = `path "kv-v2/data/creds" { capabilities = ["read"] }
path "ssh/creds/otp" { capabilities = ["update"] }`

func prepare(t vaulttest.T) *stage {
	title("1. A Vault of our own, with one secret and one machine role")
	began := time.Now()
	s := &stage{dir: t.TempDir(), vault: vaulttest.Start(t)}
	say("Vault %s listens at %s (started in %s)", version(t, s.vault), s.vault.Addr, since(began))

	s.vault.Mount(t, "kv-v2", "kv", map[string]string{"version": "2"})
	s.vault.Mount(t, "ssh", "ssh", nil)
	s.vault.Write(t, "ssh/roles/otp", map[string]any{"key_type": "otp", "default_user": "app", "cidr_list": "127.0.0.0/8"})
	awaitWrite(t, s.vault, creds, "spring")
	say("%s holds password %q; %s gives a one-time SSH password with a lease", creds, "spring", otp)
	s.vault.Policy(t, "demo", policy)
	s.role = s.vault.AppRole(t, map[string]any{"token_ttl": "1h", "secret_id_num_uses": 1}, "demo")
	s.wrapping = s.vault.WrappedSecretID(t, s.role, 5*time.Minute)
	say("role id in a file; the secret id wrapped, in another: its token opens once, for 5 minutes")

	s.app = build(t, s.dir, "./demo/app", "app")
	s.configure(t)
	return s
}

// configure writes the two credential files and a Vault Agent configuration.
func (s *stage) configure(t vaulttest.T) {
	text := fmt.Sprintf(`vault { address = %q }

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                = %q
      secret_id_file_path              = %q
      secret_id_response_wrapping_path = "auth/approle/role/%s/secret-id"
    }
  }
}

template_config { static_secret_render_interval = "1s" }

env_template "DB_PASSWORD" {
  contents = "{{ with secret \"kv-v2/data/creds\" }}{{ .Data.data.password }}{{ end }}"
}
env_template "SSH_OTP" {
  contents = "{{ with secret \"ssh/creds/otp\" \"ip=127.0.0.1\" }}{{ .Data.key }}{{ end }}"
}

exec { command = [%q] }
`, s.vault.Addr, s.file("role-id"), s.file("secret-id"), s.role.Name, s.app)
	for name, content := range map[string]string{"role-id": s.role.ID, "secret-id": s.wrapping, "demo.hcl": text} {
		if err := os.WriteFile(s.file(name), []byte(content), 0o600); err != nil {
			t.Fatalf("write %s: %v", name, err)
		}
	}
	say("a Vault Agent configuration, as it is:\n")
	for line := range strings.Lines(text) {
		fmt.Print("      " + line)
	}
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) login(t vaulttest.T) {
	title("2. envexec logs in, reads, and starts the program")
	s.before = s.vault.Accessors(t)
	mark := s.vault.Mark(t)
	began := time.Now()
	s.wrapper = run(t, s.file("demo.hcl"))
	s.first = s.wrapper.await(t, "answer", func(answer) bool { return true })
	say("the program answered %s after envexec was started", since(began))
	var requests []string
	for _, r := range s.vault.AuditLog(t, mark) {
		requests = append(requests, r.Path)
	}
	say("Vault's audit log has these requests: %s", strings.Join(requests, ", "))

	check(t, s.first.Password == "spring", "the program has DB_PASSWORD=spring in its environment")
	check(t, s.first.OTP != "", "the program has SSH_OTP, a one-time password made for it")
	check(t, len(s.first.Credentials) == 0, "the program sees no token, role id or secret id (found %d)", len(s.first.Credentials))
	_, err := os.Stat(s.file("secret-id"))
	check(t, errors.Is(err, os.ErrNotExist), "the file with the wrapping token is removed, as Vault Agent would have done")
	check(t, !s.vault.TokenAlive(t, s.wrapping), "the wrapping token is used up: nobody can open the secret id again")
	s.accessor = s.newToken(t)
	check(t, s.accessor != "", "Vault has one new token, envexec's: accessor %s", s.accessor)
	leases := s.vault.Leases(t, otp)
	check(t, len(leases) == 1, "Vault has one lease below %s: %s", otp, strings.Join(leases, ", "))
}

// newToken returns the accessor of the only token that was not there before.
func (s *stage) newToken(t vaulttest.T) string {
	var fresh []string
	for _, accessor := range s.vault.Accessors(t) {
		if !slices.Contains(s.before, accessor) {
			fresh = append(fresh, accessor)
		}
	}
	if len(fresh) != 1 {
		return ""
	}
	return fresh[0]
}

func (s *stage) rotate(t vaulttest.T) {
	title("3. Somebody rotates the secret")
	began := time.Now()
	number := s.vault.PutKV2(t, creds, map[string]any{"password": "summer"})
	say("version %d of %s written; nobody tells envexec", number, creds)
	now := s.wrapper.await(t, "follow the rotation", func(a answer) bool { return a.Password == "summer" })
	say("the program follows %s after the write", since(began))
	check(t, now.Pid != s.first.Pid, "it was restarted: process %d became %d", s.first.Pid, now.Pid)
	check(t, now.OTP == s.first.OTP, "what did not change was not fetched again: SSH_OTP is the same")
	check(t, len(s.vault.Leases(t, otp)) == 1, "Vault still has one lease below %s", otp)
	check(t, s.newToken(t) == s.accessor, "and envexec still has its first token")
}

func (s *stage) finish(t vaulttest.T) {
	title("4. The program ends, and nothing is left behind")
	say("(a program that fails within --min-uptime after a rotation is started again with the secrets it had)")
	time.Sleep(minUptime + minUptime/4)
	s.wrapper.quit()
	status := s.wrapper.wait(t)
	check(t, status == 7, "envexec ended with the program's own status, %d", status)
	check(t, len(s.vault.Leases(t, otp)) == 0, "the lease below %s is gone from Vault", otp)
	check(t, !slices.Contains(s.vault.Accessors(t), s.accessor), "the token with accessor %s is revoked", s.accessor)
	_, err := s.wrapper.ask()
	check(t, err != nil, "nothing listens at the program's address any more")
}
