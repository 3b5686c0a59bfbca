package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	amzTime   = "20060102T150405Z"
)

// sign makes the Authorization header of a POST to path / of host (AWS Signature
// Version 4). header holds all headers to sign with lower-case names, host and
// x-amz-date included.
func sign(header map[string]string, body string, k keys, region, service string, at time.Time) string {
	names := slices.Sorted(maps.Keys(header))
	var canonical strings.Builder
	canonical.WriteString("POST\n/\n\n")
	for _, n := range names {
		canonical.WriteString(n + ":" + strings.Join(strings.Fields(header[n]), " ") + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + hexSum(body))

	day := at.UTC().Format("20060102")
	scope := strings.Join([]string{day, region, service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, at.UTC().Format(amzTime), scope, hexSum(canonical.String())}, "\n")

	key := []byte("AWS4" + k.Secret)
	for _, part := range []string{day, region, service, "aws4_request"} {
		key = mac(key, part)
	}
	return algorithm + " Credential=" + k.ID + "/" + scope + ", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(mac(key, toSign))
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(s))
	return h.Sum(nil)
}
