//go:build integration

package auth_test

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/auth/method/azure"
	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// alicloudPlugin sends our signed request to the region's STS, which verifies it.
func alicloudPlugin(t *testing.T, v *vaulttest.Server, c *cloud) {
	c.at("sts.eu-central-1.aliyuncs.com", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodPost || q.Get("AccessKeyId") != "AKGOOD" || q.Get("SecurityToken") != "sts*token /" || authtest.AliCloudSigned(q, "secret~good") != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		answerJSON(w, map[string]any{"Arn": "acs:ram::5138828231865461:assumed-role/app/vm", "AccountId": "5138828231865461", "PrincipalId": "1:vm", "RoleId": "1", "IdentityType": "AssumedRoleUser"})
	})
	v.Write(t, "auth/alicloud/role/app", map[string]any{"arn": "acs:ram::5138828231865461:role/app", "token_policies": "app"})
	settings := map[string]any{"role": "app", "region": "eu-central-1", "access_key": "AKGOOD", "access_secret": secret.NewText("secret~good"), "access_token": "sts*token /"}
	accepted(t, v, "alicloud", byName(t, "alicloud", settings, nil))
	settings["access_secret"] = "another"
	refused(t, v, "alicloud", byName(t, "alicloud", settings, nil))
}

const azureTenant = "11111111-1111-1111-1111-111111111111"

// entra answers as Azure's directory and resource manager do, for tokens signed by key.
func entra(c *cloud, key *rsa.PrivateKey) {
	const login = "https://login.microsoftonline.com/"
	c.at("login.microsoftonline.com", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			issuer := "https://sts.windows.net/" + azureTenant + "/" // of tokens of version 1.0, as managed identities get
			if strings.Contains(r.URL.Path, "/v2.0/") {
				issuer = login + azureTenant + "/v2.0"
			}
			answerJSON(w, map[string]any{
				"issuer": issuer, "jwks_uri": login + "keys",
				"token_endpoint": login + azureTenant + "/oauth2/v2.0/token", "authorization_endpoint": login + azureTenant + "/oauth2/v2.0/authorize",
			})
		case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
			answerJSON(w, map[string]any{"tenant_discovery_endpoint": login + azureTenant + "/v2.0/.well-known/openid-configuration", "metadata": []any{
				map[string]any{"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": []string{"login.microsoftonline.com"}},
			}})
		case r.URL.Path == "/keys":
			answerJSON(w, map[string]any{"keys": []any{webKey(key)}})
		case strings.HasSuffix(r.URL.Path, "/token"): // the plugin's own login
			answerJSON(w, map[string]any{"access_token": "plugin", "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	c.at("management.azure.com", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer plugin" || !strings.HasSuffix(r.URL.Path, "/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answerJSON(w, map[string]any{"location": "westeurope", "identity": map[string]any{"type": "SystemAssigned", "principalId": "machine"}})
	})
}

func webKey(key *rsa.PrivateKey) map[string]any {
	return map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}
}

// azurePlugin verifies a machine's token with the directory's keys and asks the resource
// manager for the machine; and an application's token, made for its secret.
func azurePlugin(t *testing.T, v *vaulttest.Server, c *cloud) {
	const subscription = "22222222-2222-2222-2222-222222222222"
	entra(c, authtest.Key())
	token := func(subject string) string {
		now := time.Now()
		s, err := method.SignJWT(authtest.Key(), map[string]any{"kid": "one"}, map[string]any{
			"iss": "https://sts.windows.net/" + azureTenant + "/", "aud": "https://vault", "oid": subject, "sub": subject,
			"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
			"xms_mirid": "/subscriptions/" + subscription + "/resourcegroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	services := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		switch {
		case r.URL.Path == "/metadata/instance":
			answerJSON(w, map[string]any{"compute": map[string]any{"name": "vm", "vmScaleSetName": "", "resourceGroupName": "rg", "subscriptionId": subscription}})
		case r.URL.Path == "/metadata/identity/oauth2/token" && r.Form.Get("resource") == "https://vault":
			answerJSON(w, map[string]any{"access_token": token("machine")})
		case r.URL.Path == "/"+azureTenant+"/oauth2/v2.0/token" && r.Form.Get("client_secret") == "application":
			answerJSON(w, map[string]any{"access_token": token("application")})
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	v.Write(t, "auth/azure/config", map[string]any{"tenant_id": azureTenant, "resource": "https://vault", "client_id": "plugin", "client_secret": "plugin"})
	v.Write(t, "auth/azure/role/machine", map[string]any{"bound_service_principal_ids": "machine", "bound_subscription_ids": subscription, "bound_resource_groups": "rg", "token_policies": "app"})
	v.Write(t, "auth/azure/role/application", map[string]any{"bound_service_principal_ids": "application", "token_policies": "app"})
	for role, environment := range map[string]bool{"machine": false, "application": true} {
		m, err := azure.New(azure.Config{Role: role, Resource: "https://vault", FromEnvironment: environment, Metadata: services, Env: func(name string) string {
			return map[string]string{"AZURE_AUTHORITY_HOST": services, "AZURE_TENANT_ID": azureTenant, "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "application"}[name]
		}})
		if err != nil {
			t.Fatal(err)
		}
		accepted(t, v, "azure", m)
	}
	m, err := azure.New(azure.Config{Role: "application", Resource: "https://vault", Metadata: services}) // the machine is not the application
	if err != nil {
		t.Fatal(err)
	}
	refused(t, v, "azure", m)
}

// gcpPlugin verifies a service account's own signature with the account's published
// key, an instance's token with Google's, and asks for account and instance.
func gcpPlugin(t *testing.T, v *vaulttest.Server, c *cloud) {
	const email, created = "app@p.iam.gserviceaccount.com", "2026-01-01T00:00:00.000-00:00"
	cert, private := authtest.Certificate(t, authtest.Key(), pkix.Name{CommonName: "key"})
	c.at("www.googleapis.com", func(w http.ResponseWriter, r *http.Request) {
		kid := "google"
		if strings.Contains(r.URL.Path, "service_accounts") {
			kid = "own"
		}
		answerJSON(w, map[string]string{kid: cert})
	})
	c.at("oauth2.googleapis.com", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]any{"access_token": "plugin", "token_type": "Bearer", "expires_in": 3600})
	})
	c.at("iam.googleapis.com", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer plugin" || !strings.HasSuffix(r.URL.Path, "/serviceAccounts/"+email) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			answerJSON(w, map[string]any{"error": map[string]any{"code": 404, "message": "Unknown service account", "status": "NOT_FOUND"}})
			return
		}
		answerJSON(w, map[string]any{"email": email, "uniqueId": "1234", "projectId": "p"})
	})
	c.at("compute.googleapis.com", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]any{"id": "99", "name": "vm", "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b", "status": "RUNNING", "creationTimestamp": created})
	})
	account := func(email string) string {
		b, err := json.Marshal(map[string]string{
			"type": "service_account", "project_id": "p", "client_id": "1234", "client_email": email, "private_key": private, "private_key_id": "own", "token_uri": "https://oauth2.googleapis.com/token",
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	v.Write(t, "auth/gcp/config", map[string]any{"credentials": account("plugin@p.iam.gserviceaccount.com")})
	v.Write(t, "auth/gcp/role/app", map[string]any{"type": "iam", "bound_service_accounts": email, "token_policies": "app"})
	settings := map[string]any{"type": "iam", "role": "app", "credentials": account(email)}
	accepted(t, v, "gcp", byName(t, "gcp", settings, nil))
	settings["credentials"] = account("another@p.iam.gserviceaccount.com")
	refused(t, v, "gcp", byName(t, "gcp", settings, nil))

	metadata := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		token, _ := method.SignJWT(authtest.Key(), map[string]any{"kid": "google"}, map[string]any{
			"iss": "https://accounts.google.com", "aud": r.URL.Query().Get("audience"), "sub": email, "exp": time.Now().Add(10 * time.Minute).Unix(),
			"google": map[string]any{"compute_engine": map[string]any{
				"project_id": "p", "zone": "europe-west1-b", "instance_id": "99", "instance_name": "vm", "instance_creation_timestamp": 1767225600,
			}},
		})
		_, _ = w.Write([]byte(token))
	})
	v.Write(t, "auth/gcp/role/machine", map[string]any{"type": "gce", "bound_projects": "p", "token_policies": "app"})
	v.Write(t, "auth/gcp/role/other", map[string]any{"type": "gce", "bound_projects": "q", "token_policies": "app"})
	env := map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(metadata, "http://")}
	accepted(t, v, "gcp", byName(t, "gcp", map[string]any{"type": "gce", "role": "machine"}, env))
	refused(t, v, "gcp", byName(t, "gcp", map[string]any{"type": "gce", "role": "other"}, env))
}

// oracle answers as an instance's metadata and Oracle's identity service do: it verifies
// the headers the plugin was given, and trades instance certificates for sessions.
type oracle struct {
	cert, key string
	token     string // a session's
	mu        sync.Mutex
	keys      map[string]*rsa.PublicKey // by key id
}

func newOracle(t *testing.T) *oracle {
	cert, key := authtest.Certificate(t, authtest.Key(), pkix.Name{OrganizationalUnit: []string{"opc-tenant:tenancy"}})
	claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix()))
	return &oracle{
		cert: cert, key: key, token: base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + claims + ".c2ln",
		keys: map[string]*rsa.PublicKey{"tenancy/user/aa:bb": &authtest.Key().PublicKey},
	}
}

func (o *oracle) metadata(w http.ResponseWriter, r *http.Request) {
	answer, known := map[string]string{
		"cert.pem": o.cert, "key.pem": o.key, "intermediate.pem": o.cert, "region": "eu-frankfurt-1",
	}[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	if !known {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = w.Write([]byte(answer))
}

func (o *oracle) identity(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var body struct {
		PublicKey      string
		RequestHeaders map[string][]string
		Principal      any
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	switch r.URL.Path {
	case "/v1/x509":
		if key, err := publicKey(body.PublicKey); err == nil {
			o.keys["ST$"+o.token] = key
		}
		answerJSON(w, map[string]string{"token": o.token})
	case "/v1/authentication/authenticateClient":
		header := map[string]string{}
		for name, list := range body.RequestHeaders {
			header[strings.ToLower(name)] = list[0]
		}
		good := false
		for id, key := range o.keys {
			good = good || authtest.OCISigned(header, id, key) == nil
		}
		answerJSON(w, map[string]any{"success": good, "principal": map[string]any{
			"tenantId": "tenancy", "subjectId": "subject", "claims": []any{map[string]string{"issuer": "oracle", "key": "ptype", "value": "user"}},
		}})
	case "/v1/filterGroupMembership":
		answerJSON(w, map[string]any{"principal": body.Principal, "groupIds": []string{"ocid1.group.oc1..app"}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// publicKey reads one that is DER in base64, or PEM without its first and last line.
func publicKey(text string) (*rsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if key, ok := any.(*rsa.PublicKey); ok {
		return key, err
	}
	return nil, errors.Join(err, errors.New("no RSA key"))
}

// ociPlugin has Oracle's identity service verify our headers, signed with a user's key and with a session's.
func ociPlugin(t *testing.T, v *vaulttest.Server, c *cloud) {
	o := newOracle(t)
	c.at("169.254.169.254", o.metadata) // the plugin's own login
	c.at("auth.eu-frankfurt-1.oraclecloud.com", o.identity)
	v.Write(t, "auth/oci/config", map[string]any{"home_tenancy_id": "tenancy"})
	v.Write(t, "auth/oci/role/app", map[string]any{"ocid_list": "ocid1.group.oc1..app", "token_policies": "app"})
	home := t.TempDir()
	authtest.WriteFile(t, filepath.Join(home, "key.pem"), o.key)
	file := filepath.Join(home, "config")
	config := func(user string) {
		authtest.WriteFile(t, file, "[DEFAULT]\ntenancy=tenancy\nuser="+user+"\nfingerprint=aa:bb\nregion=eu-frankfurt-1\nkey_file=~/key.pem\n")
	}
	env := map[string]string{
		"HOME": home, "OCI_CONFIG_FILE": file, "OCI_METADATA_BASE_URL": serve(t, o.metadata) + "/opc/v2", "OCI_SDK_AUTH_CLIENT_REGION_URL": serve(t, o.identity),
	}
	config("user")
	accepted(t, v, "oci", byName(t, "oci", map[string]any{"type": "apikey", "role": "App"}, env))
	accepted(t, v, "oci", byName(t, "oci", map[string]any{"type": "instance", "role": "app"}, env))
	config("another")
	refused(t, v, "oci", byName(t, "oci", map[string]any{"type": "apikey", "role": "app"}, env))
}
