package azure

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // x5t, a certificate's name in a token header, is defined so
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/method"
)

const what = "azure credentials"

// environmentToken asks by the first identity the environment describes.
func (m *Method) environmentToken(ctx context.Context) (string, error) {
	env := m.cfg.Env
	tenant, client := env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {m.cfg.Scope}}
	const assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	switch {
	case tenant != "" && client != "" && env("AZURE_CLIENT_SECRET") != "":
		form.Set("client_secret", env("AZURE_CLIENT_SECRET"))
	case tenant != "" && client != "" && env("AZURE_CLIENT_CERTIFICATE_PATH") != "":
		jwt, err := m.certificateAssertion(tenant, client, env("AZURE_CLIENT_CERTIFICATE_PATH"))
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", assertion)
		form.Set("client_assertion", jwt)
	case tenant != "" && client != "" && env("AZURE_FEDERATED_TOKEN_FILE") != "":
		file := method.File{Path: env("AZURE_FEDERATED_TOKEN_FILE"), What: "azure federated token"}
		jwt, err := file.Read()
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", assertion)
		form.Set("client_assertion", jwt)
	case env("IDENTITY_ENDPOINT") != "" && env("IDENTITY_HEADER") != "":
		return m.serviceToken(ctx)
	default:
		return m.machineToken(ctx, client)
	}
	req, err := http.NewRequest(http.MethodPost, m.tokenURL(tenant), strings.NewReader(form.Encode()))
	if err != nil {
		return "", &method.CredentialError{What: what, Err: errors.New("AZURE_AUTHORITY_HOST and AZURE_TENANT_ID make no URL")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := method.Fetch(ctx, m.public, "azure for a token", req)
	if err != nil {
		return "", method.Refused(what, err)
	}
	return tokenIn(b)
}

func (m *Method) tokenURL(tenant string) string {
	authority := m.cfg.Env("AZURE_AUTHORITY_HOST")
	if authority == "" {
		authority = "https://login.microsoftonline.com"
	}
	return strings.TrimRight(authority, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
}

// certificateAssertion is a short token signed with the application's key, named by its certificate.
func (m *Method) certificateAssertion(tenant, client, path string) (string, error) {
	text, err := method.ReadFile(path)
	if err != nil {
		return "", &method.CredentialError{What: what, Path: path, Err: err}
	}
	key, err := method.RSAKey(text)
	if err != nil {
		return "", &method.CredentialError{What: what, Path: path, Err: err}
	}
	var der []byte
	for block, rest := pem.Decode(text); block != nil && der == nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			der = block.Bytes
		}
	}
	if der == nil {
		return "", &method.CredentialError{What: what, Path: path, Err: errors.New("no certificate in PEM in it")}
	}
	sum := sha1.Sum(der) //nolint:gosec // see the import
	now := m.cfg.now()
	return method.SignJWT(key, map[string]any{"x5t": base64.RawURLEncoding.EncodeToString(sum[:])}, map[string]any{
		"aud": m.tokenURL(tenant), "iss": client, "sub": client, "jti": rand.Text(),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
}

// serviceToken asks the endpoint of App Service, Functions and Container Apps.
func (m *Method) serviceToken(ctx context.Context) (string, error) {
	q := url.Values{"api-version": {"2019-08-01"}, "resource": {m.cfg.Resource}}
	if id := m.cfg.ClientID; id != "" {
		q.Set("client_id", id)
	}
	if id := m.cfg.ObjectID; id != "" {
		q.Set("principal_id", id)
	}
	req, err := http.NewRequest(http.MethodGet, m.cfg.Env("IDENTITY_ENDPOINT")+"?"+q.Encode(), nil)
	if err != nil {
		return "", &method.CredentialError{What: what, Err: errors.New("IDENTITY_ENDPOINT is no URL")}
	}
	req.Header.Set("X-IDENTITY-HEADER", m.cfg.Env("IDENTITY_HEADER"))
	b, err := method.Fetch(ctx, m.direct, "the azure identity endpoint", req)
	if err != nil {
		return "", err
	}
	return tokenIn(b)
}
