package method

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
)

// RSAKey reads a private key in PEM: PKCS #1 or PKCS #8, not encrypted.
func RSAKey(text []byte) (*rsa.PrivateKey, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if r, ok := key.(*rsa.PrivateKey); ok {
				return r, nil
			}
		}
	}
	return nil, errors.New("no RSA private key in PEM in it")
}

// SignRS256 returns RSASSA-PKCS1-v1_5 over SHA-256 of text.
func SignRS256(key *rsa.PrivateKey, text string) ([]byte, error) {
	sum := sha256.Sum256([]byte(text))
	return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
}

// SignJWT returns a compact JSON web token signed by RS256. header gets alg and typ.
func SignJWT(key *rsa.PrivateKey, header, claims map[string]any) (string, error) {
	all := map[string]any{"alg": "RS256", "typ": "JWT"}
	for k, v := range header {
		all[k] = v
	}
	h, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	signature, err := SignRS256(key, text)
	if err != nil {
		return "", errors.New("sign a token: the key does not sign")
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// Refused makes a 4xx of a provider's service what it is: credentials that do
// not help. Other errors stay as they are.
func Refused(what string, err error) error {
	var se *StatusError
	if errors.As(err, &se) && se.Status >= 400 && se.Status < 500 && se.Status != 408 && se.Status != 429 {
		return &CredentialError{What: what, Err: err}
	}
	return err
}
