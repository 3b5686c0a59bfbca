//go:build integration

package sink

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// TestVaultDecrypts opens what an encrypted sink holds with Vault's own code.
func TestVaultDecrypts(t *testing.T) {
	program := vaulttest.LoginPlugins(t)
	for _, derive := range []bool{false, true} {
		dir := t.TempDir()
		public, out := filepath.Join(dir, "public"), filepath.Join(dir, "token")
		private, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(map[string][]byte{"curve25519_public_key": private.PublicKey().Bytes()})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(public, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{File: FileConfig{Path: out, UID: Keep, GID: Keep}, DH: &DH{PublicKeyPath: public, DeriveKey: derive, AAD: "for the app"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WriteToken(t.Context(), secret.Token{ID: secret.NewText("hvs.token")}); err != nil {
			t.Fatal(err)
		}
		envelope, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for aad, want := range map[string]string{"for the app": "hvs.token", "another": ""} {
			request, err := json.Marshal(map[string]any{
				"private": private.Bytes(), "public": private.PublicKey().Bytes(), "derive": derive, "aad": aad, "envelope": json.RawMessage(envelope),
			})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "decrypt")
			cmd.Stdin = bytes.NewReader(request)
			if got, err := cmd.Output(); string(got) != want || (err == nil) != (want != "") {
				t.Errorf("derive %v, aad %q: vault reads %q, %v", derive, aad, got, err)
			}
		}
	}
}
