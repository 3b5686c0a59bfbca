package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/envexec/envexec/environ"
)

// Whatever file the real vault agent or vault proxy accepts, check --offline --lenient
// accepts too. The cases of single keys are left out: there we accept everything.
func TestAcceptsWhatVaultAccepts(t *testing.T) {
	vault := vaultBinary(t)
	dir := t.TempDir()
	for _, path := range []string{"testdata/files.txtar", "testdata/mistakes.txtar"} {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			ext := filepath.Ext(f.Name)
			if ext != ".hcl" && ext != ".json" {
				continue
			}
			file := filepath.Join(dir, filepath.Base(f.Name))
			if err := os.WriteFile(file, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := strings.HasSuffix(path, "files.txtar")
			_, ours := Parse([]string{"check", "--offline", "--lenient", "--config", file}, environ.Environ{})
			if ours == nil && !whole {
				continue // what we accept needs no second opinion
			}
			accepts := verifies(vault, "agent", file) || verifies(vault, "proxy", file)
			switch {
			case accepts && ours != nil:
				t.Errorf("%s %s: vault accepts it, we say:\n%v", path, f.Name, ours)
			case whole && !accepts:
				t.Errorf("%s %s: vault does not accept it", path, f.Name)
			}
		}
	}
}

func verifies(vault, mode, file string) bool {
	cmd := exec.Command(vault, mode, "-config="+file, "-test-verify-only")
	cmd.Dir = filepath.Dir(file)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "VAULT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd.Run() == nil
}
