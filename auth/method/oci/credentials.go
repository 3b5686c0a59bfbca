package oci

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/method"
)

const (
	what  = "oci credentials"
	early = 5 * time.Minute
)

// signer is a key and the name Oracle knows it by.
type signer struct {
	id      string
	key     *rsa.PrivateKey
	expires time.Time // zero = never
}

func (m *Method) signer(ctx context.Context) (signer, error) {
	if m.cfg.Type == APIKey {
		return m.userKey()
	}
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s.key != nil && m.cfg.now().Before(s.expires.Add(-early)) {
		return s, nil
	}
	s, err := m.instanceKey(ctx)
	if err != nil {
		return s, err
	}
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	return s, nil
}

func (m *Method) configFiles() []string {
	home := m.cfg.Env("HOME")
	if home == "" {
		home = m.cfg.Env("USERPROFILE")
	}
	list := []string{filepath.Join(home, ".oci", "config")}
	if f := m.cfg.Env("OCI_CONFIG_FILE"); f != "" {
		list = append(list, f)
	}
	return append(list, filepath.Join(home, ".oraclebmc", "config"))
}

// userKey finds a user's API key: by variables, else in the first file there is.
func (m *Method) userKey() (signer, error) {
	values := map[string]string{}
	for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "private_key_path", "private_key_password"} {
		v := m.cfg.Env("OCI_" + name)
		if v == "" {
			v = m.cfg.Env("OCI_" + strings.ToUpper(name))
		}
		values[name] = v
	}
	c := map[string]string{
		"tenancy": values["tenancy_ocid"], "user": values["user_ocid"], "fingerprint": values["fingerprint"],
		"key_file": values["private_key_path"], "pass_phrase": values["private_key_password"],
	}
	if c["tenancy"] == "" || c["user"] == "" {
		found, err := m.profile()
		if err != nil {
			return signer{}, err
		}
		c = found
	}
	for _, name := range []string{"tenancy", "user", "fingerprint", "key_file"} {
		if c[name] == "" {
			return signer{}, &method.CredentialError{What: what, Err: fmt.Errorf("%s is missing", name)}
		}
	}
	path := c["key_file"]
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(m.cfg.Env("HOME"), rest)
	}
	text, err := method.ReadFile(path)
	if err != nil {
		return signer{}, &method.CredentialError{What: what, Path: path, Err: err}
	}
	key, err := privateKey(text, c["pass_phrase"])
	if err != nil {
		return signer{}, &method.CredentialError{What: what, Path: path, Err: err}
	}
	return signer{id: c["tenancy"] + "/" + c["user"] + "/" + c["fingerprint"], key: key}, nil
}

func privateKey(text []byte, password string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || !x509.IsEncryptedPEMBlock(block) { //nolint:staticcheck // what oci's own tools write
		return method.RSAKey(text)
	}
	der, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // as above
	if err != nil {
		return nil, errors.New("the pass phrase does not open the key")
	}
	return x509.ParsePKCS1PrivateKey(der)
}

// profile reads the section DEFAULT of the first configuration file there is.
func (m *Method) profile() (map[string]string, error) {
	for _, path := range m.configFiles() {
		text, err := method.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &method.CredentialError{What: what, Path: path, Err: err}
		}
		values, inside := map[string]string{}, true
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if strings.HasPrefix(line, "[") {
				inside = line == "[DEFAULT]"
				continue
			}
			if k, v, ok := strings.Cut(line, "="); inside && ok && !strings.HasPrefix(line, "#") {
				values[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
			}
		}
		return values, nil
	}
	return nil, &method.CredentialError{What: what, Err: errors.New("found neither in OCI_ variables nor in a configuration file")}
}

// sessionKey is made once for the process. That costs more than all the rest of a login, and Oracle's
// own clients differ: its SDKs make one for each session, its Linux tools one for all.
func (m *Method) sessionKey() (*rsa.PrivateKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.key == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("make a session key: %w", err)
		}
		m.key = key
	}
	return m.key, nil
}

// instanceKey trades the instance's certificate for a session token, bound to our
// session key.
func (m *Method) instanceKey(ctx context.Context) (signer, error) {
	parts := map[string][]byte{}
	for _, name := range []string{"identity/cert.pem", "identity/key.pem", "identity/intermediate.pem", "instance/region"} {
		b, err := m.ask(ctx, name)
		if err != nil {
			return signer{}, err
		}
		parts[name] = b
	}
	leaf, _ := pem.Decode(parts["identity/cert.pem"])
	inter, _ := pem.Decode(parts["identity/intermediate.pem"])
	if leaf == nil || inter == nil {
		return signer{}, errors.New("read the oci instance's certificate: no PEM block")
	}
	cert, err := x509.ParseCertificate(leaf.Bytes)
	if err != nil {
		return signer{}, errors.New("read the oci instance's certificate: it does not parse")
	}
	key, err := method.RSAKey(parts["identity/key.pem"])
	if err != nil {
		return signer{}, &method.CredentialError{What: what, Err: err}
	}
	session, err := m.sessionKey()
	if err != nil {
		return signer{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&session.PublicKey)
	if err != nil {
		return signer{}, fmt.Errorf("make a session key: %w", err)
	}
	body, err := json.Marshal(map[string]any{
		"certificate":              base64.StdEncoding.EncodeToString(leaf.Bytes),
		"publicKey":                base64.StdEncoding.EncodeToString(public),
		"intermediateCertificates": []string{base64.StdEncoding.EncodeToString(inter.Bytes)},
		"purpose":                  "DEFAULT",
		"fingerprintAlgorithm":     "SHA256",
	})
	if err != nil {
		return signer{}, errors.New("encode the request for a session token")
	}
	// The certificate's fingerprint and tenancy name the key of this one request.
	by := signer{id: tenancy(cert) + "/fed-x509-sha256/" + fingerprint(leaf.Bytes), key: key}
	token, err := m.federate(ctx, strings.TrimSpace(string(parts["instance/region"])), by, body)
	if err != nil {
		return signer{}, err
	}
	return signer{id: "ST$" + token, key: session, expires: expiry(token)}, nil
}

func (m *Method) ask(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, m.cfg.metadata+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer Oracle")
	return method.Fetch(ctx, m.direct, "the oci metadata service", req)
}

// federate sends the signed request for a session token.
func (m *Method) federate(ctx context.Context, region string, by signer, body []byte) (string, error) {
	address := m.cfg.federation
	if address == "" {
		address = "https://auth." + realmHost(region)
	}
	req, err := http.NewRequest(http.MethodPost, address+"/v1/x509", bytes.NewReader(body))
	if err != nil {
		return "", errors.New("ask oci for a session token: the region makes no URL")
	}
	sum := sha256.Sum256(body)
	header := map[string][]string{
		"date": {m.cfg.now().UTC().Format(http.TimeFormat)}, "(request-target)": {"post /v1/x509"},
		"content-length": {fmt.Sprint(len(body))}, "content-type": {"application/json"},
		"x-content-sha256": {base64.StdEncoding.EncodeToString(sum[:])},
	}
	authorization, err := by.authorize(header, "date", "(request-target)", "content-length", "content-type", "x-content-sha256")
	if err != nil {
		return "", err
	}
	for name, v := range header {
		if name != "(request-target)" {
			req.Header.Set(name, v[0])
		}
	}
	req.Header.Set("Authorization", authorization)
	b, err := method.Fetch(ctx, m.public, "oci for a session token", req)
	if err != nil {
		return "", method.Refused(what, err)
	}
	var answer struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(b, &answer) != nil || answer.Token == "" {
		return "", errors.New("ask oci for a session token: the answer holds none")
	}
	return answer.Token, nil
}

// realmHost is a region's domain; the metadata gives short names for the first regions.
func realmHost(region string) string {
	long := map[string]string{"phx": "us-phoenix-1", "iad": "us-ashburn-1", "fra": "eu-frankfurt-1", "lhr": "uk-london-1"}
	if r, ok := long[region]; ok {
		region = r
	}
	switch {
	case strings.HasPrefix(region, "us-gov-") || strings.HasPrefix(region, "us-langley") || strings.HasPrefix(region, "us-luke"):
		return region + ".oraclegovcloud.com"
	case strings.HasPrefix(region, "uk-gov-"):
		return region + ".oraclegovcloud.uk"
	}
	return region + ".oraclecloud.com"
}

// tenancy is in the certificate's subject: "opc-tenant:ocid1.tenancy…" or "opc-identity:…".
func tenancy(cert *x509.Certificate) string {
	for _, unit := range append(cert.Subject.OrganizationalUnit, cert.Subject.Organization...) {
		for _, prefix := range []string{"opc-tenant:", "opc-identity:"} {
			if id, ok := strings.CutPrefix(unit, prefix); ok {
				return id
			}
		}
	}
	return ""
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return colons(sum[:])
}

func colons(b []byte) string {
	return strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% X ", b), " ", ":"), ":")
}

// expiry is the exp claim of a token we need not verify: Oracle will. An unreadable one is used once.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}.Add(time.Second)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(b, &claims) != nil {
		return time.Time{}.Add(time.Second)
	}
	return time.Unix(claims.Exp, 0)
}
