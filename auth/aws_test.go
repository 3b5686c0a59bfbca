//go:build integration

package auth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

func awsPlugin(t *testing.T, v *vaulttest.Server, _ *cloud) {
	t.Run("iam", func(t *testing.T) { awsIAM(t, v) })
	t.Run("ec2", func(t *testing.T) { awsEC2(t, v) })
}

// awsIAM: the plugin sends our signed request to an STS that checks the signature
// with the SDK's own signer.
func awsIAM(t *testing.T, v *vaulttest.Server) {
	good := awssdk.Credentials{AccessKeyID: "AKIDGOOD", SecretAccessKey: "secret/key+good", SessionToken: "session"}
	sts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		again, err := http.NewRequest(r.Method, "https://"+r.Host+"/", bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		again.ContentLength = -1
		for _, h := range []string{"Content-Type", "X-Vault-Aws-Iam-Server-Id"} {
			again.Header.Set(h, r.Header.Get(h))
		}
		at, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		sum := sha256.Sum256(body)
		err = v4.NewSigner().SignHTTP(context.Background(), good, again, hex.EncodeToString(sum[:]), "sts", "eu-central-1", at)
		if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:sts::123456789012:assumed-role/app/session</Arn><UserId>AROAX:session</UserId><Account>123456789012</Account>`+
			`</GetCallerIdentityResult></GetCallerIdentityResponse>`)
	})
	v.Write(t, "auth/aws/config/client", map[string]any{"sts_endpoint": sts, "sts_region": "eu-central-1", "iam_server_id_header_value": "vault.example.com"})
	v.Write(t, "auth/aws/role/app", map[string]any{
		"auth_type": "iam", "bound_iam_principal_arn": "arn:aws:iam::123456789012:role/app", "resolve_aws_unique_ids": false, "token_policies": "app",
	})
	settings := map[string]any{
		"type": "iam", "role": "app", "region": "eu-central-1", "header_value": "vault.example.com",
		"access_key": good.AccessKeyID, "secret_key": secret.NewText(good.SecretAccessKey), "session_token": secret.NewText(good.SessionToken),
	}
	accepted(t, v, "aws", byName(t, "aws", settings, nil))
	settings["secret_key"] = secret.NewText("another")
	refused(t, v, "aws", byName(t, "aws", settings, nil))
}

// awsEC2: a signed identity document, and an instance that may log in again with its nonce only.
func awsEC2(t *testing.T, v *vaulttest.Server) {
	const document = `{"accountId":"123456789012","instanceId":"i-0123456789abcdef0","region":"eu-central-1","imageId":"ami-1","pendingTime":"2026-01-01T00:00:00Z"}`
	cert, _ := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "aws"})
	sum := sha256.Sum256([]byte(document))
	signature, err := rsa.SignPKCS1v15(rand.Reader, authtest.Key(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	metadata := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer, known := map[string]string{
			"/latest/api/token":                           "imds",
			"/latest/dynamic/instance-identity/document":  document,
			"/latest/dynamic/instance-identity/signature": wrap(base64.StdEncoding.EncodeToString(signature)),
		}[r.URL.Path]
		if !known || (r.Method == http.MethodGet) != (r.Header.Get("X-Aws-Ec2-Metadata-Token") == "imds") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, answer)
	})
	ec2 := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		if r.FormValue("Action") == "GetCallerIdentity" { // the plugin's own account
			_, _ = io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet><item>`+
			`<instanceId>i-0123456789abcdef0</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>running</name></instanceState>`+
			`</item></instancesSet></item></reservationSet></DescribeInstancesResponse>`)
	})
	v.Write(t, "auth/aws/config/client", map[string]any{"endpoint": ec2, "sts_endpoint": ec2, "sts_region": "eu-central-1", "access_key": "a", "secret_key": "b"})
	v.Write(t, "auth/aws/config/certificate/test", map[string]any{"type": "identity", "aws_public_cert": base64.StdEncoding.EncodeToString([]byte(cert))})
	v.Write(t, "auth/aws/role/machine", map[string]any{"auth_type": "ec2", "bound_ami_id": "ami-1", "token_policies": "app"})
	env := map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}
	settings := map[string]any{"type": "ec2", "role": "machine", "nonce_file": filepath.Join(t.TempDir(), "nonce")}
	accepted(t, v, "aws", byName(t, "aws", settings, env)) // two logins of one process
	accepted(t, v, "aws", byName(t, "aws", settings, env)) // and of the next one
	refused(t, v, "aws", byName(t, "aws", map[string]any{"type": "ec2", "role": "machine"}, env))
}

// wrap breaks s into lines, as the metadata service does.
func wrap(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		fmt.Fprintln(&b, s[:64])
		s = s[64:]
	}
	return b.String() + s
}
