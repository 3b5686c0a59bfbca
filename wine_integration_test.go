//go:build integration && linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestIntegrationWindows runs envexec.exe under Wine, with a real Vault.
func TestIntegrationWindows(t *testing.T) {
	w := newWine(t)
	v := vaulttest.Start(t)
	v.Policy(t, "app", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "app")
	w.write("role", role.ID)
	w.write("secret", role.SecretID)
	w.write("app.hcl", fmt.Sprintf(`
vault { address = %q }
auto_auth {
  method "approle" {
    config = { role_id_file_path = "role", secret_id_file_path = "secret", remove_secret_id_file_after_reading = false }
  }
}
env_template "DB_PASSWORD" { contents = "{{ with secret \"secret/data/db\" }}{{ .Data.data.password }}{{ end }}" }
template_config { static_secret_render_interval = "500ms" }
`, v.Addr))
	put := func(password string) { v.PutKV2(t, "secret/db", map[string]any{"password": password}) }
	put("größe \"1\"")

	for _, tc := range []struct {
		name string
		test func(t *testing.T, w *wine)
	}{
		{"console", func(t *testing.T, w *wine) {
			args := []string{"", "two words", `a"b\`, `C:\dir\`, "%PATH%", "日本 😀"}
			status, out := w.run(append([]string{"envexec.exe", "--config", "app.hcl", "--file", "cert=secret/db#password", "--", "app", w.address}, args...)...)
			if status != 127 { // not in PATH: the present directory is not searched
				t.Errorf("status %d\n%s", status, out)
			}
			cmd, file := w.begin(nil, append([]string{"envexec.exe", "--config", "app.hcl", "--file", "cert=secret/db#password", "--", `.\app.exe`, w.address}, args...)...)
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "größe \"1\"" || !slices.Equal(a.Args, args) {
				t.Errorf("password %q, arguments %q", a.Env["DB_PASSWORD"], a.Args)
			}
			if info, err := os.Stat(filepath.Join(w.dir, "cert")); err != nil || info.Mode().Perm()&0o007 != 0 { // Wine shows the administrators as the group
				t.Errorf("the file of a secret: %v, %v", info, err)
			}
			w.must(0, "ready", "envexec.exe", "status")
			w.must(0, "", "envexec.exe", "render", "--config", "app.hcl", "--format", "dotenv", "--output", "rendered")
			if info, err := os.Stat(filepath.Join(w.dir, "rendered")); err != nil || info.Mode().Perm()&0o007 != 0 {
				t.Errorf("what was rendered: %v, %v", info, err)
			}
			put("two")
			b := w.visited()
			a.ends(t)
			if b.Env["DB_PASSWORD"] != "two" {
				t.Errorf("rotated to %q", b.Env["DB_PASSWORD"])
			}
			// Whatever way envexec ends, nothing survives it.
			_ = cmd.Process.Kill()
			b.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"killed at any moment", killedAtAnyMoment},
		{"Ctrl-C", ctrlC},
		{"status of the program", func(t *testing.T, w *wine) {
			w.must(7, "", "envexec.exe", "--", `.\app.exe`, w.address, "exit", "7")
			w.visited().ends(t)
		}},
		{"a tree is ended", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--", `.\app.exe`, w.address, "tree")
			a, b := w.visited(), w.visited()
			_ = cmd.Process.Kill()
			a.ends(t)
			b.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"hook", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--config", "app.hcl", "--on-change", `hook:.\app.exe `+w.address+" exit 0", "--", `.\app.exe`, w.address)
			a := w.visited()
			put("three")
			if h := w.visited(); h.Env["DB_PASSWORD"] != "three" || h.Env["ENVEXEC_CHANGED"] != "DB_PASSWORD" || len(h.Args) == 0 {
				t.Errorf("the hook saw %q %q %q", h.Env["DB_PASSWORD"], h.Env["ENVEXEC_CHANGED"], h.Args)
			}
			_ = cmd.Process.Kill()
			a.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"refused at load", func(t *testing.T, w *wine) {
			w.write("bad.hcl", "change {\n  policy = \"overlap\"\n}\n")
			w.must(78, "bad.hcl:2:3: change.policy: overlap is not possible on Windows", "envexec.exe", "--config", "bad.hcl", "--", "app")
			w.must(78, "--stop-signal: stop.signal: Windows has no such signal", "envexec.exe", "--stop-signal", "USR1", "--", "app")
			w.must(78, "nul is a device on Windows", "envexec.exe", "--file", "nul=secret/db#password", "--", "app")
		}},
		{"private listener", func(t *testing.T, w *wine) {
			cmd, file := w.begin(nil, "envexec.exe", "--config", "app.hcl", "--listen-vault", `unix://C:\v.sock`, "--child-token", "--", `.\app.exe`, w.address)
			a := w.visited()
			if !strings.HasPrefix(a.Env["VAULT_ADDR"], "http://127.0.0.1:") || a.Env["VAULT_TOKEN"] == "" {
				t.Errorf("the program got VAULT_ADDR %q", a.Env["VAULT_ADDR"])
			}
			_ = cmd.Process.Kill()
			a.ends(t)
			_, _ = end(t, cmd, file)
		}},
		{"service", func(t *testing.T, w *wine) {
			put("four")
			service := func(status int, text, verb string, args ...string) {
				t.Helper()
				w.must(status, text, append([]string{"envexec.exe", "service", verb, "--name", "demo"}, args...)...)
			}
			service(78, "there is none", "status")
			w.write("broken.hcl", "valt {}\n")
			service(78, "unknown key", "install", "--config", "broken.hcl", "--", `.\app.exe`)
			service(0, "installed demo", "install", "--config", "app.hcl", "--log-file", "demo.log", "--", `.\app.exe`, w.address, "two words")
			service(78, "installed already", "install", "--config", "app.hcl", "--", `.\app.exe`)
			service(3, "stopped", "status")
			service(0, "running, process", "start")
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "four" || !strings.EqualFold(a.Dir, windowsPath(w.dir)) || !slices.Equal(a.Args, []string{"two words"}) {
				t.Errorf("the program saw %q in %q with %q", a.Env["DB_PASSWORD"], a.Dir, a.Args)
			}
			service(0, "running, process", "status")
			w.must(0, "ready", "envexec.exe", "status") // an administrator finds it
			put("five")
			b := w.visited()
			a.ends(t)
			if b.Env["DB_PASSWORD"] != "five" {
				t.Errorf("rotated to %q", b.Env["DB_PASSWORD"])
			}
			service(0, "stopped, ended in order", "stop")
			b.ends(t)
			service(0, "stopped", "stop") // again does nothing
			service(0, "uninstalled", "uninstall")
			service(78, "there is none", "status")
		}},
		{"service waits for Vault", func(t *testing.T, w *wine) {
			v.Seal(t)
			t.Cleanup(func() {
				if t.Failed() {
					v.Unseal(t) // the others need it
				}
			})
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "late", "--config", "app.hcl", "--log-file", "late.log", "--log-level", "debug", "--", `.\app.exe`, w.address)
			cmd, file := w.begin(nil, "envexec.exe", "service", "start", "--name", "late")
			for end := time.Now().Add(2 * time.Minute); ; {
				if said, _ := os.ReadFile(file); wineFailed(string(said)) {
					_ = cmd.Wait()
					cmd, file = w.begin(nil, "envexec.exe", "service", "start", "--name", "late")
				}
				status, out := w.run("envexec.exe", "service", "status", "--name", "late")
				if status == 3 && strings.Contains(out, "starting, process") {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("status %d: %s", status, out)
				}
			}
			v.Unseal(t)
			t.Cleanup(func() {
				if text, err := os.ReadFile(filepath.Join(w.dir, "late.log")); err == nil && t.Failed() {
					t.Logf("late.log: %s", text)
				}
			})
			a := w.visited()
			if status, out := end(t, cmd, file); status != 0 || !strings.Contains(out, "running") {
				t.Errorf("start ended with %d: %s", status, out)
			}
			w.must(0, "uninstalled", "envexec.exe", "service", "uninstall", "--name", "late") // and is stopped first
			a.ends(t)
			// One that still waits takes no request to stop, and is stopped all the same.
			v.Seal(t)
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "late2", "--config", "app.hcl", "--", `.\app.exe`, w.address)
			cmd, file = w.begin(nil, "envexec.exe", "service", "start", "--name", "late2")
			for end := time.Now().Add(2 * time.Minute); ; {
				if _, out := w.run("envexec.exe", "service", "status", "--name", "late2"); strings.Contains(out, "starting, process") {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it does not begin to start")
				}
			}
			w.must(0, "uninstalled", "envexec.exe", "service", "uninstall", "--name", "late2")
			_ = cmd.Process.Kill() // Wine does not tell it
			_, _ = end(t, cmd, file)
			v.Unseal(t)
		}},
		{"service exit codes", func(t *testing.T, w *wine) {
			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "seven", "--", `.\app.exe`, w.address, "exit", "7")
			if status, out := w.run("envexec.exe", "service", "start", "--name", "seven"); status != 0 && !strings.Contains(out, "exit code 7") {
				t.Errorf("status %d: %s", status, out)
			}
			w.visited().ends(t)
			w.settled("seven", "stopped, the program ended with exit code 7 (0x7)")
			w.must(0, "", "envexec.exe", "service", "uninstall", "--name", "seven")

			w.must(0, "installed", "envexec.exe", "service", "install", "--name", "missing", "--config", "app.hcl", "--env", "X=secret/nowhere#x", "--", `.\app.exe`, w.address)
			w.must(125, "envexec ended with status 78: configuration", "envexec.exe", "service", "start", "--name", "missing")
			w.settled("missing", "stopped, envexec ended with status 78: configuration")
			w.must(0, "", "envexec.exe", "service", "uninstall", "--name", "missing")
			if events := w.eventText(); !strings.Contains(events, "secret/nowhere") || !strings.Contains(events, "exit code 7") {
				t.Errorf("events: %s", events)
			}
		}},
		{"sc.exe", func(t *testing.T, w *wine) {
			exe := windowsPath(filepath.Join(w.dir, "envexec.exe"))
			w.must(0, "", "sc.exe", "create", "byhand", "binPath=", `"`+exe+`" --config=app.hcl -- .\app.exe `+w.address)
			w.must(0, "", "sc.exe", "start", "byhand")
			a := w.visited()
			if a.Env["DB_PASSWORD"] != "five" || !strings.EqualFold(a.Dir, windowsPath(w.dir)) {
				t.Errorf("the program saw %q in %q", a.Env["DB_PASSWORD"], a.Dir)
			}
			w.settled("byhand", "running, process")
			w.must(0, "", "sc.exe", "stop", "byhand")
			a.ends(t)
			w.settled("byhand", "stopped, ended in order")
			w.must(0, "", "sc.exe", "delete", "byhand")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			own := *w
			own.t = t
			tc.test(t, &own)
		})
	}
	t.Run("unit tests", func(t *testing.T) { unitTestsUnderWine(t, w) })
}
