package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever a configuration names, check --offline opens none of it: the kernel is asked to
// tell of every file that is opened in the directory they all lie in.
func TestOfflineOpensNothing(t *testing.T) {
	dir := t.TempDir()
	named := []string{"ca.pem", "cert.pem", "key.pem", "role-id", "secret-id", "app.tpl", "app.env", "token", "dh.json", "kube", "prog", ".vault-token", "out"}
	for _, name := range named {
		place(t, dir, name, "#!/bin/sh\n")
	}
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0") // a port nobody can bind
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	text := strings.NewReplacer("DIR", dir, "PORT", busy.Addr().String()).Replace(`
vault {
  address = "https://PORT"
  ca_cert = "DIR/ca.pem"
  ca_path = "DIR"
  client_cert = "DIR/cert.pem"
  client_key = "DIR/key.pem"
}
auto_auth {
  method "approle" {
    config = {
      role_id_file_path = "DIR/role-id"
      secret_id_file_path = "DIR/secret-id"
    }
  }
  sink "file" {
    dh_type = "curve25519"
    dh_path = "DIR/dh.json"
    config { path = "DIR/token" }
  }
}
template {
  source = "DIR/app.tpl"
  destination = "DIR/out"
  user = "no-such-user"
}
listener "tcp" {
  address = "PORT"
  tls_cert_file = "DIR/cert.pem"
  tls_key_file = "DIR/key.pem"
  tls_client_ca_file = "DIR/ca.pem"
}
listener "unix" {
  address = "DIR/socket"
  socket_user = "no-such-user"
  tls_disable = true
}
cache {
  persist "kubernetes" {
    path = "DIR"
    service_account_token_file = "DIR/kube"
  }
}
listen "web" { address = "tcp://PORT" }
environment { files = ["DIR/app.env"] }
program { user = "no-such-user" }
exec { command = ["DIR/prog"] }
env_template "A" { source = "DIR/app.tpl" }
`)
	file := filepath.Join(dir, "config", "agent.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_CREATE|unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "--offline", "--config", file},
		{"check", "--offline", "--token-file", filepath.Join(dir, "token"), "--file", filepath.Join(dir, "x") + "=" + filepath.Join(dir, "app.tpl"), "--", filepath.Join(dir, "prog")},
		{"check", "--offline", "--env", "A=kv/a#b", "--", "prog"},
	} {
		cmd := exec.CommandContext(t.Context(), "envexec", args...)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "VAULT_SECRET_ID_FILE=" + filepath.Join(dir, "secret-id")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v %v\n%s", args, err, out)
		}
		buf := make([]byte, 4096)
		if n, _ := unix.Read(fd, buf); n > 0 {
			t.Errorf("%v: something was opened: %q", args, buf[unix.SizeofInotifyEvent:n])
		}
	}
}
