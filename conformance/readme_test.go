//go:build linux && integration

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
)

// appLogin is the AppRole of the README's examples, with its id.
func appLogin(t *testing.T, v *vaulttest.Server) vaulttest.Role {
	t.Helper()
	v.PutKV2(t, "secret/db", map[string]any{"password": "s3cret"})
	v.Policy(t, "app", `path "secret/data/db" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "app")
	role.ID = "app"
	v.Write(t, "auth/approle/role/"+role.Name+"/role-id", map[string]any{"role_id": role.ID})
	return role
}

// readmeBlock is the README's one example in a language.
func readmeBlock(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(found) != 1 {
		t.Fatalf("README.md has %d examples in %s, want one", len(found), language)
	}
	return found[0][1]
}

// TestReadmeDockerfile builds the README's image and runs it: process 1 logs in over TLS, the program has the secret,
// and docker stop ends in the program's own status with nothing left in Vault.
func TestReadmeDockerfile(t *testing.T) {
	t.Parallel()
	inPlaces(t, "docker-net", func(t *testing.T, _ place) {
		v := vaulttest.Start(t, vaulttest.TLS())
		role, context := appLogin(t, v), tempDir(t)
		write(t, filepath.Join(context, "Dockerfile"), readmeBlock(t, "dockerfile"), 0o644)
		for name, path := range map[string]string{"envexec": binary, "app": fixture, "vault-ca.pem": v.CACert} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(context, name), string(text), 0o755)
		}
		build := client("build", "--quiet", "--tag", "readme", context)
		build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // what docker.io brings
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("docker build: %v: %s", err, out)
		}
		before := v.Accessors(t)
		t.Cleanup(func() { _ = client("rm", "--force", "readme").Run() })
		p := start(t, command{under: none, args: client("run", "--rm", "--name", "readme", "--network", "host",
			"--env", "VAULT_ADDR="+v.Addr, "--env", "VAULT_ROLE_ID="+role.ID, "--env", "VAULT_SECRET_ID="+role.SecretID,
			"readme", "env=DB_PASSWORD", "env=VAULT_SECRET_ID", "on=TERM", "{", "exit=5", "}", "say=ready", "wait").Args})
		if got := p.line("env DB_PASSWORD="); got != "s3cret" {
			t.Errorf("DB_PASSWORD=%s", got)
		}
		if got := p.line("env VAULT_SECRET_ID="); got != "" {
			t.Error("the secret id reached the program")
		}
		p.line("ready")
		if out, err := client("stop", "--time", "600", "readme").CombinedOutput(); err != nil {
			t.Fatalf("docker stop: %v: %s", err, out)
		}
		expectEnd(t, p, 5)
		if left := v.Accessors(t); len(left) != len(before) {
			t.Errorf("Vault has %d tokens, had %d", len(left), len(before))
		}
	})
}

// readmeUnit is the README's unit with the places of this test for those of a machine.
func readmeUnit(t *testing.T, v *vaulttest.Server, secretID string) *unit {
	t.Helper()
	file := filepath.Join(tempDir(t), "secret-id")
	write(t, file, secretID, 0o600)
	text := readmeBlock(t, "ini")
	for _, change := range [][2]string{
		{"https://vault.example.com:8200", v.Addr},
		{"/etc/app/secret-id", file},
		{"/usr/bin/envexec", binary},
		{"/usr/bin/app", strings.Join(program("env=DB_PASSWORD", "env=CREDENTIALS_DIRECTORY", "say=up", "wait"), " ")},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the README's unit has no %s", change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	u := newUnit(t, []string{"/bin/true"})
	u.write(u.name+".service", "[Unit]", "DefaultDependencies=no", text,
		"Environment="+u.id, "StandardOutput=append:"+u.path, "StandardError=append:"+u.path)
	return u
}

// TestReadmeUnit runs the README's unit under systemd: it logs in with a credential, and its stop leaves nothing in
// Vault. A secret id that is denied is tried once.
func TestReadmeUnit(t *testing.T) {
	t.Parallel()
	inPlaces(t, "systemd", func(t *testing.T, _ place) {
		v := vaulttest.Start(t)
		role := appLogin(t, v)
		before := v.Accessors(t)
		u := readmeUnit(t, v, role.SecretID)
		u.mustStart()
		if got := u.line("env DB_PASSWORD="); got != "s3cret" {
			t.Errorf("DB_PASSWORD=%s", got)
		}
		if got := u.line("env CREDENTIALS_DIRECTORY="); got != "" {
			t.Error("the credentials' directory reached the program")
		}
		u.line("up")
		u.stop()
		if result := u.show("Result"); result != "success" {
			t.Errorf("stopped: %s", result)
		}
		if left := v.Accessors(t); len(left) != len(before) {
			t.Errorf("Vault has %d tokens, had %d", len(left), len(before))
		}

		denied := readmeUnit(t, v, "no-such-secret-id")
		if err := denied.start(); err == nil {
			t.Error("the unit started with a wrong secret id")
		}
		denied.inactive()
		if status, restarts := denied.show("ExecMainStatus"), denied.show("NRestarts"); status != "77" || restarts != "0" {
			t.Errorf("ended with %s after %s restarts", status, restarts)
		}
	})
}

// TestReadmeJob runs the README's CI job as a runner does: the words of "run" in a shell, with nobody at a terminal.
func TestReadmeJob(t *testing.T) {
	t.Parallel()
	v := vaulttest.Start(t)
	role := appLogin(t, v)
	v.PutKV2(t, "secret/ci", map[string]any{"npm_token": "t0ken"})
	v.Policy(t, "app", `path "secret/data/*" { capabilities = ["read"] }`)
	_, line, found := strings.Cut(readmeBlock(t, "yaml"), "- run: ")
	if !found {
		t.Fatal("the README's job has no step that runs something")
	}
	bin := tempDir(t)
	write(t, filepath.Join(bin, "npm"), "#!/bin/sh\necho \"$NPM_TOKEN $1 ${VAULT_SECRET_ID-none}\"\nexit 3\n", 0o755)
	if err := os.Symlink(binary, filepath.Join(bin, "envexec")); err != nil {
		t.Fatal(err)
	}
	before := v.Accessors(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", line)
	cmd.Env = []string{
		"PATH=" + bin + ":/usr/bin:/bin", "CI=true", "HOME=" + bin,
		"VAULT_ADDR=" + v.Addr, "VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID,
	}
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 3 || string(out) != "t0ken publish none\n" {
		t.Errorf("status %d, %v, printed %q", code, err, out)
	}
	if left := v.Accessors(t); len(left) != len(before) {
		t.Errorf("Vault has %d tokens, had %d", len(left), len(before))
	}
}
