package main

import (
	"encoding/json"
	"io"

	"github.com/hashicorp/vault/helper/dhutil"
)

// decrypt opens the envelope in a request on in: {"private", "public", "derive",
// "aad", "envelope"}, keys in base64, and writes its content.
func decrypt(in io.Reader, out io.Writer) error {
	var r struct {
		Private, Public []byte
		Derive          bool
		AAD             string
		Envelope        dhutil.Envelope
	}
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return err
	}
	key, err := dhutil.GenerateSharedSecret(r.Private, r.Envelope.Curve25519PublicKey)
	if err != nil {
		return err
	}
	if r.Derive {
		if key, err = dhutil.DeriveSharedKey(key, r.Public, r.Envelope.Curve25519PublicKey); err != nil {
			return err
		}
	}
	plain, err := dhutil.DecryptAES(key, r.Envelope.EncryptedPayload, r.Envelope.Nonce, []byte(r.AAD))
	if err != nil {
		return err
	}
	_, err = out.Write(plain)
	return err
}
