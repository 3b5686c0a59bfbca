package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
)

// Config says who logs in.
type Config struct {
	MountPath string // default "auth/azure"
	Role      string // required
	Resource  string // required: what Vault's method is configured with
	ObjectID  string // of a user-assigned identity; excludes ClientID
	ClientID  string
	Scope     string // default Resource + "/.default"
	// FromEnvironment is authenticate_from_environment.
	FromEnvironment bool

	Env      func(string) string // the environment; nil = empty
	Metadata string              // URL of the machine's metadata service; default http://169.254.169.254

	now func() time.Time
}

// FromMap reads the config block of a Vault Agent file.
func FromMap(m map[string]any) (Config, error) {
	o := method.NewOptions(m)
	c := Config{
		Role:            o.String("role", ""),
		Resource:        o.String("resource", ""),
		ObjectID:        o.String("object_id", ""),
		ClientID:        o.String("client_id", ""),
		Scope:           o.String("scope", ""),
		FromEnvironment: o.Bool("authenticate_from_environment", false),
	}
	o.Require("role", c.Role)
	o.Require("resource", c.Resource)
	return c, o.Err()
}

// New checks c and asks nobody anything.
func New(c Config) (*Method, error) {
	switch {
	case c.Role == "" || c.Resource == "":
		return nil, errors.New("azure: a role and a resource are required")
	case c.ObjectID != "" && c.ClientID != "":
		return nil, errors.New("azure: object_id and client_id exclude each other")
	}
	if c.MountPath == "" {
		c.MountPath = "auth/azure"
	}
	if c.Scope == "" {
		c.Scope = c.Resource + "/.default"
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.Metadata == "" {
		c.Metadata = "http://169.254.169.254"
	}
	if c.now == nil {
		c.now = time.Now
	}
	return &Method{cfg: c, direct: method.Direct(), public: method.Public()}, nil
}

// Method is an api.AuthMethod and a method.Credentials.
type Method struct {
	cfg            Config
	direct, public *http.Client
}

const apiVersion = "2018-02-01"

// machine is what the metadata service says about a virtual machine.
type machine struct {
	Name           string `json:"name"`
	ScaleSet       string `json:"vmScaleSetName"`
	ResourceGroup  string `json:"resourceGroupName"`
	SubscriptionID string `json:"subscriptionId"`
}

// Login implements api.AuthMethod.
func (m *Method) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	vm, err := m.machine(ctx)
	if err != nil && !m.cfg.FromEnvironment {
		return nil, err
	}
	var token string
	if m.cfg.FromEnvironment {
		token, err = m.environmentToken(ctx)
	} else {
		token, err = m.machineToken(ctx, m.cfg.ClientID)
	}
	if err != nil {
		return nil, err
	}
	body := map[string]any{"role": m.cfg.Role, "jwt": token}
	for k, v := range map[string]string{
		"vm_name": vm.Name, "vmss_name": vm.ScaleSet, "resource_group_name": vm.ResourceGroup, "subscription_id": vm.SubscriptionID,
	} {
		if v != "" || !m.cfg.FromEnvironment {
			body[k] = v
		}
	}
	s, err := method.Login(ctx, client, m.cfg.MountPath+"/login", body)
	return s, method.Refusal(what, err, "oidc: ", "not authorized", "does not match", "do not match", "expected identities", "claims are missing",
		"are required", "must be provided", "both cannot be empty")
}

// machine asks for the machine's names. With an identity of the environment it may
// not be one, and is not waited for long.
func (m *Method) machine(ctx context.Context) (vm machine, err error) {
	if m.cfg.FromEnvironment {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	b, err := m.ask(ctx, "/metadata/instance", url.Values{"api-version": {apiVersion}})
	if err != nil {
		return vm, err
	}
	var answer struct {
		Compute machine `json:"compute"`
	}
	if json.Unmarshal(b, &answer) != nil {
		return vm, errors.New("ask the azure metadata service: the answer is not JSON")
	}
	return answer.Compute, nil
}

func (m *Method) machineToken(ctx context.Context, clientID string) (string, error) {
	q := url.Values{"api-version": {apiVersion}, "resource": {m.cfg.Resource}}
	if m.cfg.ObjectID != "" {
		q.Set("object_id", m.cfg.ObjectID)
	}
	if clientID != "" {
		q.Set("client_id", clientID)
	}
	b, err := m.ask(ctx, "/metadata/identity/oauth2/token", q)
	if err != nil {
		return "", err
	}
	return tokenIn(b)
}

func (m *Method) ask(ctx context.Context, path string, q url.Values) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, m.cfg.Metadata+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, errors.New("ask the azure metadata service: no URL")
	}
	req.Header.Set("Metadata", "true")
	return method.Fetch(ctx, m.direct, "the azure metadata service", req)
}

func tokenIn(b []byte) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(b, &answer) != nil || answer.AccessToken == "" {
		return "", errors.New("ask azure for a token: the answer holds none")
	}
	return answer.AccessToken, nil
}

// Fingerprint implements method.Credentials.
func (m *Method) Fingerprint(context.Context) (string, error) {
	parts := []string{m.cfg.Role, m.cfg.Env("AZURE_CLIENT_SECRET")}
	for _, f := range m.files() {
		file := method.File{Path: f}
		parts = append(parts, file.Peek())
	}
	return method.Fingerprint(parts...), nil
}

// Watch implements method.Credentials.
func (m *Method) Watch() ([]string, time.Duration) { return m.files(), time.Minute }

func (m *Method) files() (list []string) {
	if !m.cfg.FromEnvironment {
		return nil
	}
	for _, name := range []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH"} {
		if f := strings.TrimSpace(m.cfg.Env(name)); f != "" {
			list = append(list, f)
		}
	}
	return list
}
