package sealed

import (
	"bytes"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/envexec/envexec/secret"
)

const (
	// stretch is PBKDF2's iteration count for passphrases.
	stretch = 600_000
	// minMaterial is the least length of a key's text.
	minMaterial = 16
	// maxMaterial bounds a key file.
	maxMaterial = 1 << 20
	keySize     = 32
)

// Key is what a file is sealed with.
type Key struct {
	Text secret.Text
	// Passphrase says that a person chose Text: it is stretched, which takes a
	// fraction of a second. Otherwise Text is as hard to guess as a key must be.
	Passphrase bool
}

// KeySource gives the keys as they are now. The first seals; all of them open, so
// that a key can be exchanged: put the new one in front. It is asked at Open and
// at every Save, and a file sealed with another key than the first is sealed anew.
type KeySource func() ([]Key, error)

// Passphrases always gives these, the one to seal with first.
func Passphrases(texts ...secret.Text) KeySource {
	var keys []Key
	for _, t := range texts {
		keys = append(keys, Key{Text: t, Passphrase: true})
	}
	return func() ([]Key, error) { return keys, nil }
}

// Files reads a key from each file: one made for the purpose, a systemd credential,
// a Kubernetes service account token. White space at the ends does not count. The
// first must be there; of the others, older ones, any may be gone.
func Files(paths ...string) KeySource {
	return func() ([]Key, error) {
		var keys []Key
		for i, path := range paths {
			text, err := readKey(path)
			switch {
			case err == nil:
				keys = append(keys, Key{Text: text})
			case i == 0 || !errors.Is(err, os.ErrNotExist):
				return nil, err
			}
		}
		return keys, nil
	}
}

func readKey(path string) (secret.Text, error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Text{}, fmt.Errorf("read key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxMaterial {
		return secret.Text{}, fmt.Errorf("read key %q: not a file of less than 1 MiB", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return secret.Text{}, fmt.Errorf("read key: %w", err)
	}
	return secret.NewText(string(bytes.TrimSpace(text))), nil
}

// check refuses keys that are no keys.
func (k Key) check() error {
	if !k.Passphrase && len(k.Text.Reveal()) < minMaterial {
		return fmt.Errorf("key is shorter than %d bytes", minMaterial)
	}
	if k.Text.Empty() {
		return errors.New("passphrase is empty")
	}
	return nil
}

// master returns what file keys are derived from. salt matters for passphrases.
func (k Key) master(salt []byte) ([]byte, error) {
	if !k.Passphrase {
		return []byte(k.Text.Reveal()), nil
	}
	return pbkdf2.Key(sha256.New, k.Text.Reveal(), salt, stretch, keySize)
}

// fileKey derives the key of one file.
func fileKey(master, salt []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, master, salt, "envexec sealed cache 1", keySize)
}
