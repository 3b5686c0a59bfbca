package authtest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the service's signature version 1.0
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// AliCloudSigned verifies the parameters of a POST by Alibaba Cloud's published
// rules for signatures of version 1.0 (HMAC-SHA1), with an encoder of its own.
func AliCloudSigned(q url.Values, key string) error {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "Signature" {
			pairs = append(pairs, percent(name)+"="+percent(q.Get(name)))
		}
	}
	h := hmac.New(sha1.New, []byte(key+"&"))
	_, _ = io.WriteString(h, "POST&%2F&"+percent(strings.Join(pairs, "&")))
	if base64.StdEncoding.EncodeToString(h.Sum(nil)) != q.Get("Signature") {
		return errors.New("wrong signature")
	}
	return nil
}

// percent is the encoding of RFC 3986.
func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

var ociForm = regexp.MustCompile(`^Signature version="1",headers="([^"]*)",keyId="([^"]*)",algorithm="rsa-sha256",signature="([^"]*)"$`)

// OCISigned verifies a request's headers by draft-cavage-http-signatures, as Oracle
// publishes it: signed by key, under the name id, within the last minute.
func OCISigned(header map[string]string, id string, key *rsa.PublicKey) error {
	parts := ociForm.FindStringSubmatch(header["authorization"])
	if parts == nil || parts[2] != id || key == nil {
		return errors.New("wrong authorization")
	}
	var lines []string
	for _, name := range strings.Fields(parts[1]) {
		if header[name] == "" {
			return fmt.Errorf("header %q is signed but absent", name)
		}
		lines = append(lines, name+": "+header[name])
	}
	at, err := http.ParseTime(header["date"])
	if err != nil || time.Since(at).Abs() > time.Minute {
		return errors.New("wrong date")
	}
	signature, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
}
