package sink

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/envexec/envexec/auth/method"
)

// DH encrypts for the holder of a curve25519 key, as dh_type = "curve25519" of
// Vault Agent: X25519, optionally HKDF-SHA256, AES-256-GCM.
type DH struct {
	// PublicKeyPath is dh_path, a JSON file with curve25519_public_key in base64. It is read
	// anew at each write, so the reader may change its key.
	PublicKeyPath string
	DeriveKey     bool   // derive_key: HKDF over the shared secret; better than using it as it is
	AAD           string // aad: must be known to the reader

	last []byte // the public key encrypted for last
}

type dhPublic struct {
	Key []byte `json:"curve25519_public_key"`
}

type dhEnvelope struct {
	Key     []byte `json:"curve25519_public_key"`
	Nonce   []byte `json:"nonce"`
	Payload []byte `json:"encrypted_payload"`
}

// Encrypt returns the JSON envelope of plain, with a key pair of its own.
func (d *DH) Encrypt(plain []byte) ([]byte, error) {
	public, err := d.peer()
	if err != nil {
		return nil, err
	}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for the sink: %w", err)
	}
	gcm, err := d.cipher(own, public)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	d.last = public.Bytes()
	return json.Marshal(dhEnvelope{Key: own.PublicKey().Bytes(), Nonce: nonce, Payload: gcm.Seal(nil, nonce, plain, []byte(d.AAD))})
}

// changed reports whether the reader's key is another than the last one. One that cannot be read is not.
func (d *DH) changed() bool {
	public, err := d.peer()
	return err == nil && !bytes.Equal(public.Bytes(), d.last)
}

// Check finds out whether there is a key to encrypt for. A file that is not there yet is none of
// its business: the reader may write it later.
func (d *DH) Check() error {
	if _, err := d.peer(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// peer is the reader's public key as it is now.
func (d *DH) peer() (*ecdh.PublicKey, error) {
	text, err := method.ReadFile(d.PublicKeyPath)
	if err != nil {
		return nil, fmt.Errorf("read the sink's public key: %w", err)
	}
	var peer dhPublic
	if err := json.Unmarshal(text, &peer); err != nil {
		return nil, fmt.Errorf("read the sink's public key from %q: it is not JSON with curve25519_public_key", d.PublicKeyPath)
	}
	public, err := ecdh.X25519().NewPublicKey(peer.Key)
	if err != nil {
		return nil, fmt.Errorf("read the sink's public key from %q: it has %d bytes, want 32", d.PublicKeyPath, len(peer.Key))
	}
	if probe, err := ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key for the sink: %w", err)
	} else if _, err := probe.ECDH(public); err != nil { // as all zeros: a placeholder, or somebody's trick
		return nil, fmt.Errorf("read the sink's public key from %q: it is of low order, no secret can be agreed on with it", d.PublicKeyPath)
	}
	return public, nil
}

// Decrypt opens an envelope with the reader's private key.
func (d *DH) Decrypt(private *ecdh.PrivateKey, envelope []byte) ([]byte, error) {
	var e dhEnvelope
	if json.Unmarshal(envelope, &e) != nil {
		return nil, errors.New("decrypt a sink's content: it is no envelope")
	}
	public, err := ecdh.X25519().NewPublicKey(e.Key)
	if err != nil {
		return nil, errors.New("decrypt a sink's content: its public key is none")
	}
	gcm, err := d.cipher(private, public)
	if err != nil {
		return nil, err
	}
	if len(e.Nonce) != gcm.NonceSize() {
		return nil, errors.New("decrypt a sink's content: its nonce is none")
	}
	plain, err := gcm.Open(nil, e.Nonce, e.Payload, []byte(d.AAD))
	if err != nil {
		return nil, errors.New("decrypt a sink's content: wrong key or additional data")
	}
	return plain, nil
}

// cipher is AES-256-GCM under the key both sides share.
func (d *DH) cipher(own *ecdh.PrivateKey, peer *ecdh.PublicKey) (cipher.AEAD, error) {
	key, err := own.ECDH(peer)
	if err != nil {
		return nil, errors.New("agree on a key with the sink's reader: the public key is of low order")
	}
	if d.DeriveKey {
		low, high := own.PublicKey().Bytes(), peer.Bytes()
		if bytes.Compare(low, high) > 0 {
			low, high = high, low
		}
		if key, err = hkdf.Key(sha256.New, key, low, string(high), 32); err != nil {
			return nil, fmt.Errorf("derive the sink's key: %w", err)
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make the sink's cipher: %w", err)
	}
	return cipher.NewGCM(block)
}
