package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

const limit = 2 * time.Minute

// variable is one line of a configuration: a name and where its value is.
type variable struct{ name, path, key string }

// configuration writes a file that both envexec and vault agent understand.
func (b *bench) configuration(t vaulttest.T, name string, variables []variable, command ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "vault {\n  address = %q\n}\n", b.vault.Addr)
	fmt.Fprintf(&text, `auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = %q
      secret_id_file_path                 = %q
      remove_secret_id_file_after_reading = false
    }
  }
}
template_config {
  exit_on_retry_failure = true
}
`, b.file(t, "role-id", b.role.ID), b.file(t, "secret-id", b.role.SecretID))
	for _, v := range variables {
		fmt.Fprintf(&text, "env_template %q {\n  contents = \"{{ with secret \\\"%s\\\" }}{{ .Data.data.%s }}{{ end }}\"\n}\n", v.name, v.path, v.key)
	}
	quoted := make([]string, len(command))
	for i, word := range command {
		quoted[i] = fmt.Sprintf("%q", word)
	}
	fmt.Fprintf(&text, "exec {\n  command = [%s]\n}\n", strings.Join(quoted, ", "))
	return b.file(t, name+".hcl", text.String())
}

func (b *bench) file(t vaulttest.T, name, content string) string {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}

// stamp is the file the probe writes.
func (b *bench) stamp() string { return filepath.Join(b.dir, "stamp") }

func (b *bench) with(binary, config string) *exec.Cmd { return exec.Command(binary, "-config="+config) }

func (b *bench) withAgent(config string) *exec.Cmd {
	return exec.Command(b.agent, "agent", "-config="+config)
}

func (b *bench) byHand() *exec.Cmd {
	cmd := exec.Command(b.baseline, b.probe, b.stamp())
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+b.vault.Addr, "VAULT_ROLE_ID="+b.role.ID, "VAULT_SECRET_ID="+b.role.SecretID)
	return cmd
}

// result is one run.
type result struct {
	start time.Duration // exec to the program's first instruction
	cpu   time.Duration // of the wrapper and all it waited for, to its end
}

// run starts cmd, waits for its end and reads what the probe wrote.
func (b *bench) run(t vaulttest.T, cmd *exec.Cmd, variables int) result {
	_ = os.Remove(b.stamp())
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(limit, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	defer timer.Stop()
	began := time.Now()
	err := cmd.Run()
	stamp, seen := b.readStamp(t)
	// vault agent ends with an error of its own although the program ended well.
	if stamp == 0 || (err != nil && cmd.Path != b.agent) {
		t.Fatalf("run %s: %v\n%s", filepath.Base(cmd.Path), err, output.String())
	}
	if seen != variables {
		t.Fatalf("run %s: the program got %d variables, not %d", filepath.Base(cmd.Path), seen, variables)
	}
	return result{
		start: time.Duration(stamp - began.UnixNano()),
		cpu:   cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
	}
}

// readStamp returns zeros while the probe has not run.
func (b *bench) readStamp(t vaulttest.T) (nanoseconds int64, variables int) {
	text, err := os.ReadFile(b.stamp())
	if err != nil || len(text) == 0 {
		return 0, 0
	}
	if _, err := fmt.Sscan(string(text), &nanoseconds, &variables); err != nil {
		t.Fatalf("read the probe's time: %v", err)
	}
	return nanoseconds, variables
}

// resident runs cmd until it has been idle for a while and reads its memory.
func (b *bench) resident(t vaulttest.T, cmd *exec.Cmd) (bytes int64, ok bool) {
	_ = os.Remove(b.stamp())
	if err := cmd.Start(); err != nil {
		t.Fatalf("run %s: %v", filepath.Base(cmd.Path), err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		if stamp, _ := b.readStamp(t); stamp != 0 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("run %s: the program did not start", filepath.Base(cmd.Path))
		case <-time.After(10 * time.Millisecond):
		}
	}
	time.Sleep(idleAfter)
	return residentBytes(cmd.Process.Pid)
}

// residentBytes reads Linux's own account.
func residentBytes(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, after, found := strings.Cut(string(text), "VmRSS:")
	if !found {
		return 0, false
	}
	var kb int64
	if _, err := fmt.Sscan(after, &kb); err != nil {
		return 0, false
	}
	return kb * 1024, true
}

// requests lists what Vault was asked after mark, until the program's start:
// the revocation at the end is not part of it.
func (b *bench) requests(t vaulttest.T, mark int64) []string {
	var list []string
	for _, request := range b.vault.AuditLog(t, mark) {
		if request.Path != "auth/token/revoke-self" {
			list = append(list, request.Operation+" "+request.Path)
		}
	}
	return list
}

func (b *bench) reads(t vaulttest.T, mark int64, path string) int {
	n := 0
	for _, request := range b.vault.AuditLog(t, mark) {
		if request.Operation == "read" && request.Path == path {
			n++
		}
	}
	return n
}

func build(t vaulttest.T, root, pkg, out string) string {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}
