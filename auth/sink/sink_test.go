package sink

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader makes a key pair and publishes its public half at path.
func reader(t *testing.T, path string) *ecdh.PrivateKey {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"curve25519_public_key":"` + base64.StdEncoding.EncodeToString(private.PublicKey().Bytes()) + `"}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return private
}

func TestEncryptedSinkFollowsTheReadersKey(t *testing.T) {
	for _, derive := range []bool{false, true} {
		dir := t.TempDir()
		dh := &DH{PublicKeyPath: filepath.Join(dir, "public"), DeriveKey: derive, AAD: "for the app"}
		out := filepath.Join(dir, "token")
		s, err := New(Config{File: FileConfig{Path: out, UID: Keep, GID: Keep}, DH: dh})
		if err != nil {
			t.Fatal(err)
		}
		token := secret.Token{ID: secret.NewText("hvs.token")}
		if err := s.WriteToken(t.Context(), token); err == nil {
			t.Error("written without a public key")
		}
		for range 2 { // the reader changes its key
			private := reader(t, dh.PublicKeyPath)
			if !s.Stale() {
				t.Error("a new key does not make the sink stale")
			}
			if err := s.WriteToken(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			sealed, err := os.ReadFile(out)
			if err != nil || strings.Contains(string(sealed), "hvs.token") {
				t.Fatalf("the sink holds %q, %v", sealed, err)
			}
			if s.Stale() {
				t.Error("the sink is stale after it was written")
			}
			if plain, err := dh.Decrypt(private, sealed); err != nil || string(plain) != "hvs.token" {
				t.Errorf("derive %v: decrypted %q, %v", derive, plain, err)
			}
			other := *dh
			other.AAD = "for another"
			if _, err := other.Decrypt(private, sealed); err == nil {
				t.Error("decrypted with other additional data")
			}
		}
	}
}

func TestEncryptRefusesBadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "public")
	for _, text := range []string{"", "{}", `{"curve25519_public_key":"AAAA"}`, `{"curve25519_public_key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (&DH{PublicKeyPath: path}).Encrypt([]byte("x")); err == nil {
			t.Errorf("encrypted for the key %q", text)
		}
		out := filepath.Join(filepath.Dir(path), "token")
		s, err := New(Config{File: FileConfig{Path: out, UID: Keep, GID: Keep}, DH: &DH{PublicKeyPath: path}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
			t.Errorf("the key %q: check says %v", text, err)
		}
		if s.Stale() {
			t.Errorf("the key %q is taken for a new one", text)
		}
	}
	if err := (&DH{PublicKeyPath: path + "-later"}).Check(); err != nil {
		t.Errorf("a key that comes later: %v", err)
	}
}

func FuzzDecrypt(f *testing.F) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"curve25519_public_key":"","nonce":"","encrypted_payload":""}`))
	f.Add([]byte(`{"curve25519_public_key":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","nonce":"AQEB","encrypted_payload":"AQ=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := (&DH{}).Decrypt(private, b); err == nil {
			t.Error("decrypted noise")
		}
	})
}

// TestWrappedSink writes, through a real Vault, what only one reader can unwrap.
func TestWrappedSink(t *testing.T) {
	v := vaulttest.Start(t)
	out := filepath.Join(t.TempDir(), "token")
	s, err := New(Config{File: FileConfig{Path: out, UID: Keep, GID: Keep}, WrapTTL: time.Minute, Client: v.ClientFor(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	id := v.Token(t, nil, "default")
	if err := s.WriteToken(t.Context(), secret.Token{ID: secret.NewText(id)}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var info api.SecretWrapInfo
	if err := json.Unmarshal(text, &info); err != nil || strings.Contains(string(text), id) || info.TTL != 60 || info.CreationPath != "sys/wrapping/wrap" {
		t.Fatalf("the sink holds %s, %v", text, err)
	}
	got, err := v.ClientFor(t, "").Logical().Unwrap(info.Token)
	if err != nil || got.Data["token"] != id {
		t.Errorf("unwrapped %v, %v", got, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"no path":      {},
		"no client":    {File: FileConfig{Path: "x"}, WrapTTL: time.Minute},
		"no dh path":   {File: FileConfig{Path: "x"}, DH: &DH{}},
		"no directory": {File: FileConfig{Path: filepath.Join("no", "such", "x"), UID: Keep, GID: Keep}},
	} {
		s, err := New(c)
		if err == nil {
			err = s.Check()
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
