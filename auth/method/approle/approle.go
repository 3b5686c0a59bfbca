package approle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config says where the role id and the secret id come from.
type Config struct {
	MountPath string // default "auth/approle"

	RoleIDFile   string      // role_id_file_path; this or RoleID is required
	RoleID       string      // the role id itself
	SecretIDFile string      // secret_id_file_path; neither this nor SecretID = login by role id alone
	SecretID     secret.Text // the secret id itself, or a wrapping token when WrappingPath is set
	// KeepSecretIDFile is the opposite of remove_secret_id_file_after_reading: by default the file is removed.
	KeepSecretIDFile bool
	// WrappingPath is secret_id_response_wrapping_path: the creation path a wrapping token must
	// have, as "auth/approle/role/NAME/secret-id". Set, the secret id is such a token.
	WrappingPath string

	Logger *slog.Logger // default: none
}

// FromMap reads the config block of a Vault Agent file. Besides its keys, role_id
// and secret_id give the ids themselves.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		RoleIDFile:       o.String("role_id_file_path", ""),
		SecretIDFile:     o.String("secret_id_file_path", ""),
		KeepSecretIDFile: !o.Bool("remove_secret_id_file_after_reading", true),
		WrappingPath:     o.String("secret_id_response_wrapping_path", ""),
		RoleID:           o.Text("role_id").Reveal(),
		SecretID:         o.Text("secret_id"),
	}
	o.OneOf("role_id_file_path", "role_id")
	if o.Has("role_id_file_path") {
		o.Require("role_id_file_path", c.RoleIDFile)
	}
	if o.Has("secret_id_response_wrapping_path") {
		o.Require("secret_id_response_wrapping_path", c.WrappingPath)
	}
	return c, o.Err()
}

// New checks c.
func New(c Config) (*Method, error) {
	if c.RoleIDFile == "" && c.RoleID == "" {
		return nil, errors.New("approle: a role id or its file is required")
	}
	if c.RoleIDFile != "" && c.RoleID != "" || c.SecretIDFile != "" && !c.SecretID.Empty() {
		return nil, errors.New("approle: an id is given both directly and by a file")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/approle"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Method{
		cfg:    c,
		role:   method.File{Path: c.RoleIDFile, What: "role id"},
		secret: method.File{Path: c.SecretIDFile, What: "secret id", Remove: !c.KeepSecretIDFile},
	}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg          Config
	role, secret method.File

	// wrapping is the wrapping token that was unwrapped last, unwrapped the secret id it
	// held: a wrapping token answers once, the secret id serves every later login.
	wrapping, unwrapped string
}

// Login implements api.AuthMethod: one request, three when a new wrapping token
// has to be looked up and unwrapped first. Calls must follow one another.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	body := map[string]any{"role_id": m.cfg.RoleID}
	if m.cfg.RoleIDFile != "" {
		id, err := m.role.Read()
		if err != nil {
			return nil, err
		}
		body["role_id"] = id
	}
	id, err := m.secretID(ctx, client)
	if err != nil {
		m.spent(err)
		return nil, err
	}
	if id != "" {
		body["secret_id"] = id
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login", body)
	m.spent(err)
	return s, err
}

// spent lets the secret id's file go once Vault has answered.
func (m *Method) spent(err error) {
	if removal := m.secret.Spent(err); removal != nil {
		m.cfg.Logger.Warn("secret id file stays readable", "error", removal)
	}
}

func (m *Method) secretID(ctx context.Context, client *api.Client) (string, error) {
	id := m.cfg.SecretID.Reveal()
	if m.cfg.SecretIDFile != "" {
		var err error
		if id, err = m.secret.Read(); err != nil {
			return "", err
		}
	}
	if id == "" || m.cfg.WrappingPath == "" {
		return id, nil
	}
	if m.unwrapped != "" && id == m.wrapping {
		return m.unwrapped, nil
	}
	unwrapped, err := m.unwrap(ctx, client, id)
	if err != nil {
		return "", err
	}
	m.wrapping, m.unwrapped = id, unwrapped
	m.spent(nil) // whatever becomes of the login
	return unwrapped, nil
}

// unwrap trades the wrapping token for the secret id, in the client's namespace.
// The lookup comes first: a token created elsewhere is left wrapped, as evidence.
func (m *Method) unwrap(ctx context.Context, client *api.Client, token string) (string, error) {
	if why := wrongForm(token); why != "" {
		return "", m.neverWrapping(why)
	}
	c := client.WithNamespace(client.Namespace()) // a copy with its headers, whose token and wrapping we may set
	c.SetToken(token)
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	spent := &method.WrappingError{What: "secret id", Path: m.cfg.SecretIDFile, Expected: m.cfg.WrappingPath}

	info, err := method.Send(ctx, c, http.MethodGet, "sys/wrapping/lookup", nil)
	if refused(err) {
		if _, err := method.Lookup(ctx, c, token); err == nil { // Vault knows it as a token, which no spent one is
			return "", m.neverWrapping("it is no wrapping token but an ordinary token of Vault")
		}
		return "", spent
	}
	if err != nil {
		return "", fmt.Errorf("look the wrapped secret id up: %w", err)
	}
	var created string
	if info != nil {
		created, _ = info.Data["creation_path"].(string)
	}
	if strings.Trim(created, "/") != strings.Trim(m.cfg.WrappingPath, "/") {
		if created == "" {
			created = "an unknown path"
		}
		spent.Created = created
		return "", spent
	}

	s, err := method.Send(ctx, c, http.MethodPut, "sys/wrapping/unwrap", nil)
	if refused(err) {
		return "", spent
	}
	if err != nil {
		return "", fmt.Errorf("unwrap the secret id: %w", err)
	}
	if s != nil {
		if id, ok := s.Data["secret_id"].(string); ok && id != "" {
			return id, nil
		}
	}
	return "", &method.CredentialError{What: "secret id", Path: m.cfg.SecretIDFile, Err: errors.New("the wrapped answer holds none")}
}

// neverWrapping says what is in the place of a wrapping token: why and what to do. Nobody
// has intercepted anything then.
func (m *Method) neverWrapping(why string) error {
	return &method.CredentialError{
		What: "wrapping token of the secret id", Path: m.cfg.SecretIDFile, Err: errors.New(why),
		Hint: "deliver the secret id wrapped (vault write -f -wrap-ttl=5m -field=wrapping_token " + m.cfg.WrappingPath + "), or remove secret_id_response_wrapping_path",
	}
}

// wrongForm says why token has none of the forms in which Vault gives out wrapping tokens; "" = it has one.
func wrongForm(token string) string {
	isJWT := strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2
	isToken := strings.HasPrefix(token, "hvs.") || strings.HasPrefix(token, "s.")
	isUUID, _ := regexp.MatchString(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`, token)
	switch {
	case isUUID:
		return "it is no wrapping token: it has the form of a secret id itself"
	case !isJWT && !isToken || strings.ContainsFunc(token, unicode.IsSpace):
		return "it is no wrapping token: those begin with hvs. or s., or are a JWT"
	}
	return ""
}

// refused: 400 and 403 are Vault's words for a wrapping token it does not know (any more).
func refused(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && (re.StatusCode == http.StatusBadRequest || re.StatusCode == http.StatusForbidden)
}

// Consumes implements method.Consumer.
func (m *Method) Consumes() bool {
	return m.cfg.WrappingPath != "" || m.cfg.SecretIDFile != "" && !m.cfg.KeepSecretIDFile
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	role, id := m.cfg.RoleID, m.cfg.SecretID.Reveal()
	if m.cfg.RoleIDFile != "" {
		role = m.role.Peek()
	}
	if m.cfg.SecretIDFile != "" {
		id = m.secret.Peek()
	}
	if role == "" || (id == "" && m.cfg.SecretIDFile != "") {
		return "", nil
	}
	return method.Fingerprint(role, id), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() (files []string, interval time.Duration) {
	for _, f := range []string{m.cfg.RoleIDFile, m.cfg.SecretIDFile} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files, 0
}
