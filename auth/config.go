package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/secret"
)

// Method logs in. Login reads its credentials anew each time, makes the login
// request with the client it is given and changes neither that client nor its
// token. It is called once at a time, never again while a call is running. The answer is either a login (Secret.Auth), wrap
// information, or a lookup of a given token (Secret.Data with "id").
// A Method whose credentials can change implements method.Credentials as well.
type Method = api.AuthMethod

// Sink takes each new token once, never a renewal. An error is logged and the same
// token written again after about 2 s, then ever more rarely up to 30 s, until it succeeds or a newer token replaces it.
// The context of one call ends after Config.RequestTimeout.
type Sink interface {
	WriteToken(ctx context.Context, t secret.Token) error
}

// Refresher is what a Sink implements whose content can become useless to its reader
// while the token stays the same, as when the reader changes its key.
type Refresher interface {
	// Stale reports whether the newest token should be written again. It is asked every 10 s.
	Stale() bool
}

// Exit says which failed logins end Run before the first success. Later ones never do.
type Exit uint8

const (
	// ExitDenied ends Run on a login that cannot heal by waiting. The default.
	ExitDenied Exit = iota
	// ExitNever keeps trying until the context ends (exit_on_err = false).
	ExitNever
	// ExitAlways ends Run on any failure (exit_on_err = true).
	ExitAlways
)

// Config is what New needs. Client and Method are required.
type Config struct {
	// Client reaches Vault. It belongs to the caller, is copied and not changed; its
	// own retries must be off (SetMaxRetries(0)), and its token is not used.
	Client *api.Client
	Method Method
	// MountPath is where the method is mounted ("auth/approle"), for messages and WrapTTL.
	MountPath string
	// Namespace of all requests; "" = the client's.
	Namespace string

	MinBackoff time.Duration // between failed logins, full jitter; default 1 s
	MaxBackoff time.Duration // default 5 min
	// StartBackoff bounds MaxBackoff until the first login has succeeded; default 10 s.
	StartBackoff time.Duration
	// DeniedInterval is how long a denied login is not repeated with unchanged
	// credentials; default and minimum 15 min, for Vault locks users out.
	DeniedInterval time.Duration
	// RequestTimeout bounds one login, renewal or revocation; default 30 s.
	RequestTimeout time.Duration

	ExitOnErr Exit
	// Reauth logs in again as soon as the method's credentials change (enable_reauth_on_new_credentials).
	Reauth bool
	// WrapTTL asks for a response-wrapped login: the sink gets the wrap information as JSON. The
	// session does not renew what it cannot see, and logs in again only when nobody has unwrapped
	// the token shortly before the wrapping ends.
	WrapTTL time.Duration
	// Revoke lets Retire and Close revoke tokens this session logged in for. Leave it false when a
	// token is handed out or must outlive the process.
	Revoke bool

	// Keep keeps the newest token for the next start, which then looks it up instead of
	// logging in; nil = every start logs in. KeepFor says what the token was for, the settings
	// of the login for example: one kept for something else is not used.
	Keep    Keeper
	KeepFor string
	// Leave makes Close leave the kept token alive: for credentials that a login uses up,
	// with which the next start could not log in.
	Leave bool

	// First have each token, in order, before the Sinks are given it: those who read secrets with
	// it. They neither wait nor fail.
	First  []Sink
	Sinks  []Sink // each by itself; see SetSinks
	Logger *slog.Logger
	Trace  Trace

	now    func() time.Duration // clock; default boot time
	random func() float64       // [0,1)
}

// Trace is a set of optional callbacks for metrics and tests. They run in the
// session's goroutine and must not block.
type Trace struct {
	OnLogin     func(t secret.Token)             // a login succeeded
	OnFailure   func(err error, retry time.Time) // a login failed; zero retry = never by itself
	OnRenew     func(t secret.Token, err error)  // a renewal ended
	OnRevoke    func(epoch uint64, err error)    // a revocation ended
	OnDelivered func(epoch uint64)               // every sink has the token; from another goroutine
}

const (
	minDenied     = 15 * time.Minute
	callTimeout   = 30 * time.Second
	quickDeath    = 10 * time.Second // a token found invalid sooner than this counts as a failed login
	spentAtOnce   = 10               // so many tokens in a row may be spent that soon without a pause
	sinkRetryMin  = 1 * time.Second
	sinkRetryMax  = 3 * time.Second
	sinkRetryMost = 30 * time.Second // the pause doubles with each failure up to it
)

// New checks c, fills its defaults in and makes no request.
func New(c Config) (*Session, error) {
	var errs []error
	if c.Client == nil {
		errs = append(errs, errors.New("a client is required"))
	}
	if c.Method == nil {
		errs = append(errs, errors.New("a method is required"))
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.MinBackoff, time.Second},
		{&c.MaxBackoff, 5 * time.Minute},
		{&c.StartBackoff, 10 * time.Second},
		{&c.DeniedInterval, minDenied},
		{&c.RequestTimeout, callTimeout},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	c.DeniedInterval = max(c.DeniedInterval, minDenied)
	if c.MinBackoff > c.MaxBackoff {
		errs = append(errs, fmt.Errorf("min_backoff %s is longer than max_backoff %s", c.MinBackoff, c.MaxBackoff))
	}
	c.StartBackoff = max(c.MinBackoff, min(c.StartBackoff, c.MaxBackoff))
	if c.WrapTTL > 0 && len(c.Sinks) != 1 {
		errs = append(errs, errors.New("a wrapped login needs exactly one sink"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("configure login: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = clock.Now
	}
	if c.random == nil {
		c.random = rand.Float64
	}
	ns := c.Namespace
	if ns == "" {
		ns = c.Client.Namespace()
	}
	client := c.Client.WithNamespace(ns) // a copy
	client.ClearToken()
	if c.WrapTTL > 0 {
		client.SetWrappingLookupFunc(wrapLogin(c.MountPath, c.WrapTTL))
	}
	return &Session{cfg: c, client: client, wake: make(chan struct{}, 1), results: make(chan func(*loop)), replacements: make(chan *replacement)}, nil
}

// wrapLogin asks for wrapping of requests below the login's mount only.
func wrapLogin(mount string, ttl time.Duration) api.WrappingLookupFunc {
	prefix := strings.Trim(mount, "/") + "/"
	return func(_, path string) string {
		if strings.HasPrefix(strings.Trim(path, "/")+"/", prefix) {
			return ttl.String()
		}
		return ""
	}
}
