package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

// Lend says which requests are sent with the session's token.
type Lend uint8

// The values of Lend.
const (
	LendNever   Lend = iota // only to the child's bearer
	LendMissing             // to a request without a token of its own
	LendAlways              // to every request, whatever token it carries ("force")
)

// Inconsistent says what happens when a standby has not yet seen what a client wrote.
type Inconsistent uint8

// The values of Inconsistent. With all but AsAsked the states Vault names in its
// answers are remembered and sent with every later request.
const (
	AsAsked Inconsistent = iota // enforce_consistency = never
	Fail                        // the client gets Vault's 412
	Retry                       // asked again for a short time
	Forward                     // the standby passes it to the active node
)

// Role limits what a listener answers.
type Role string

// The roles. When any listener has RoleAdmin, the admin endpoints are answered there only.
const (
	RoleDefault     Role = ""             // requests to Vault, admin endpoints, metrics
	RoleMetricsOnly Role = "metrics_only" // metrics, /live and /ready
	RoleAdmin       Role = "admin"        // admin endpoints, metrics, /live and /ready
	RoleProxyOnly   Role = "proxy_only"   // requests to Vault
)

// Child is a bearer of our own: valid at our listeners only, it stands for the session's token.
type Child struct {
	Token secret.Text // made by NewChildToken
	Paths []string    // API path prefixes it may use, as secret/data/app/; empty = all
}

// Config configures a Proxy. Zero values mean the default named in each comment.
type Config struct {
	// Client says how Vault is reached: address, TLS, transport, extra headers. A
	// DialTLSContext of its own must offer HTTP/1.1 only. Its
	// token, namespace, retries and timeout are not used. Owned by the caller.
	Client    *api.Client
	Listeners []Listener // at least one

	// AutoAuth: a session will call WriteToken. Lend and Child need it.
	AutoAuth bool
	Lend     Lend
	Child    *Child

	Inconsistent Inconsistent
	// PrependNamespace comes before the namespace of each request; "" = nothing.
	PrependNamespace string
	NoRedirects      bool          // hand redirects to other nodes to the client
	Retries          int           // of what may be repeated, when Vault does not answer; 2, negative = none
	RetryFor         time.Duration // and no longer than this; 2s
	UserAgent        string        // put before the client's own; "" = only the client's

	Cache *Cache // nil = no cache

	Drain time.Duration // how long running requests may finish at the end; 5s

	// OnInvalidToken is told when Vault no longer knows a token of the session. It must not block.
	OnInvalidToken func(secret.Token)
	// OnUse is told of each of Vault's answers to a request made with a token of the session,
	// by its HTTP status. It must not block.
	OnUse func(t secret.Token, status int)
	// OnQuit is called once when a client may and does ask us to end. It must not block.
	OnQuit func()
	// Ready reports why we cannot serve; nil = ready. Asked by /ready beside our own knowledge.
	Ready func() error

	// Secrets tells of the secrets envexec itself keeps fresh, for the metrics; nil = there are none.
	Secrets       func() []SecretStats
	MetricsPrefix string // first part of the metrics' names; "" = envexec
	NoPrometheus  bool   // metrics as JSON only

	Logger *slog.Logger // nil = no logs
}

// Listener is one place where clients come in.
type Listener struct {
	Network string       // tcp or unix; "" = tcp
	Address string       // host:port, or a path (unix); "" = 127.0.0.1:8200
	Socket  net.Listener // already open: Network and Address only name it
	Remove  func()       // takes the open unix socket's file away at the end; nil = it stays

	Role          Role
	RequireHeader bool   // X-Vault-Request: true must be there, once
	EnableQuit    bool   // answer the quit endpoint
	Namespace     string // of every request, whatever it says; "" = as asked

	Mode       uint32   // of a unix socket; 0 = 0600
	User       string   // owner of a unix socket, name or id; "" = ours
	Group      string   // group of a unix socket, name or id; "" = ours
	AllowUsers []string // names or ids that may connect to a unix socket; empty = whom Mode admits

	TLS *TLS // nil = plain

	MaxRequestSize    int64         // bytes of a body; 0 = any
	MaxHeaderBytes    int           // 64 KiB
	ReadHeaderTimeout time.Duration // 10s
	IdleTimeout       time.Duration // 5m
	StallTimeout      time.Duration // nothing of a body or an answer moves for so long: 1m
	MaxConnections    int           // at once; 0 = any
}

// TLS is a listener's side of TLS. Files are read again when they change.
type TLS struct {
	CertFile, KeyFile  string
	MinVersion         string   // tls10 … tls13; "" = tls12
	MaxVersion         string   // "" = tls13
	CipherSuites       []string // names as in crypto/tls; empty = Go's choice
	RequireClientCert  bool     // and verify it
	ClientCAFile       string   // "" = the system's authorities
	DisableClientCerts bool     // do not even ask for one
}

// complete fills in the defaults and checks the rest; all problems are joined.
func (c Config) complete() (Config, error) {
	var errs []error
	if c.Client == nil {
		errs = append(errs, errors.New("no vault client"))
	}
	if len(c.Listeners) == 0 {
		errs = append(errs, errors.New("no listener"))
	}
	if !c.AutoAuth && (c.Lend != LendNever || c.Child != nil) {
		errs = append(errs, errors.New("a token can only be lent with auto-auth"))
	}
	if c.Child != nil && len(c.Child.Token.Reveal()) < len(childMark)+32 {
		errs = append(errs, errors.New("child token is too short to be a secret"))
	}
	if c.Retries == 0 {
		c.Retries = 2
	}
	c.Retries = max(c.Retries, 0)
	setDefault(&c.RetryFor, 2*time.Second)
	setDefault(&c.Drain, 5*time.Second)
	c.PrependNamespace = strings.Trim(c.PrependNamespace, "/")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Listeners = slices.Clone(c.Listeners)
	for i := range c.Listeners {
		if err := c.Listeners[i].complete(); err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", c.Listeners[i].Address, err))
		}
	}
	return c, errors.Join(errs...)
}

func (l *Listener) complete() error {
	var errs []error
	if l.Network == "" {
		l.Network = "tcp"
	}
	switch {
	case l.Socket != nil && l.Address == "":
		l.Address = l.Socket.Addr().String()
	case l.Network == "tcp" && l.Address == "":
		l.Address = "127.0.0.1:8200"
	case l.Network == "unix" && l.Address == "":
		errs = append(errs, errors.New("no path"))
	case l.Network != "tcp" && l.Network != "unix":
		errs = append(errs, fmt.Errorf("unknown network %q", l.Network))
	}
	if l.Network != "unix" && (l.Mode != 0 || l.User != "" || l.Group != "" || len(l.AllowUsers) > 0) {
		errs = append(errs, errors.New("mode, owner and allowed users are for unix sockets"))
	}
	if len(l.AllowUsers) > 0 && !peersKnown {
		errs = append(errs, errors.New("this system does not tell who connects: no allowed users"))
	}
	if l.Mode > 0o777 {
		errs = append(errs, fmt.Errorf("mode %o is no file mode", l.Mode))
	}
	if !slices.Contains([]Role{RoleDefault, RoleMetricsOnly, RoleAdmin, RoleProxyOnly}, l.Role) {
		errs = append(errs, fmt.Errorf("unknown role %q", l.Role))
	}
	if l.Mode == 0 {
		l.Mode = 0o600
	}
	if l.MaxHeaderBytes == 0 {
		l.MaxHeaderBytes = 64 << 10
	}
	l.Namespace = strings.Trim(l.Namespace, "/")
	setDefault(&l.ReadHeaderTimeout, 10*time.Second)
	setDefault(&l.IdleTimeout, 5*time.Minute)
	setDefault(&l.StallTimeout, time.Minute)
	return errors.Join(errs...)
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}
