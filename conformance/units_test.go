//go:build linux && integration

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const units = "../contrib/systemd/"

// TestUnitsVerify: systemd has nothing to say about the unit of contrib; about its notify-reload form this version, 252,
// says which settings are newer than itself, and nothing else.
func TestUnitsVerify(t *testing.T) {
	t.Parallel()
	newer := []string{"Failed to parse service type, ignoring: notify-reload", "'ReloadSignal'", "'RestartSteps'", "'RestartMaxDelaySec'"}
	for name, known := range map[string][]string{"envexec@": nil, "envexec-reload@": newer} {
		text, err := os.ReadFile(units + name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(tempDir(t), name+"web.service")
		write(t, path, strings.ReplaceAll(string(text), "/usr/bin/envexec", binary), 0o644)
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput() //nolint:gosec // tests
		require(t, "systemd", err)
	lines:
		for line := range strings.Lines(string(out)) {
			for _, word := range known {
				if strings.Contains(line, word) {
					continue lines
				}
			}
			t.Errorf("%s: %s", name, line)
		}
	}
}

// TestUnitReload runs contrib's unit: reload returns when what the configuration now says is in use, and stop ends all in
// order.
func TestUnitReload(t *testing.T) {
	t.Parallel()
	vault, dir := newVault(t), tempDir(t)
	write(t, filepath.Join(dir, "token"), "conformance", 0o600)
	words := program("on=TERM", "{", "say=term", "exit=0", "}", "env=VALUE", "notify=READY=1", "wait")
	for i, word := range words {
		words[i] = fmt.Sprintf("%q", word)
	}
	configure := func(prefix string) {
		write(t, filepath.Join(dir, "app.hcl"), fmt.Sprintf(`
			vault { address = %q }
			auto_auth { method "token_file" { config = { token_file_path = %q } } }
			env_template "VALUE" { contents = "%s{{ with secret \"secret/data/app\" }}{{ .Data.data.value }}{{ end }}" }
			exec { command = [%s] }
			ready { type = "notify" }
		`, vault.addr, filepath.Join(dir, "token"), prefix, strings.Join(words, ", ")), 0o644)
	}
	configure("")
	text, err := os.ReadFile(units + "envexec@.service")
	if err != nil {
		t.Fatal(err)
	}
	_, service, _ := strings.Cut(string(text), "[Service]")
	service, _, _ = strings.Cut(service, "[Install]")
	service = strings.NewReplacer("/usr/bin/envexec", binary, "/etc/envexec/%i.hcl", filepath.Join(dir, "app.hcl"),
		"PrivateTmp=yes", "", // the tests' files are there
		"ExecStart=/usr/bin/envexec", "#").Replace(service)
	u := newUnit(t, []string{binary, "--config", filepath.Join(dir, "app.hcl")}, service)
	u.mustStart()
	u.line("env VALUE=1")
	configure("new-")
	if out, err := systemctl("reload", u.name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said, err := os.ReadFile(u.path)
	if err != nil || !strings.Contains(string(said), "env VALUE=new-1") {
		t.Errorf("reload returned before the new program was ready: %v\n%s", err, said)
	}
	if state := u.show("ActiveState"); state != "active" {
		t.Errorf("the unit is %s", state)
	}
	u.stop()
	if result := u.show("Result"); result != "success" || u.out.count("term") != 2 {
		t.Errorf("Result=%s\n%s", result, u.out.text())
	}
}
