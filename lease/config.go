package lease

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/secret"
)

// Config configures a Store. Zero values mean the default named in each comment.
type Config struct {
	// Client says where Vault is and how it is reached: address, transport, headers,
	// limits. The Store sends each request over its transport, with the token it belongs
	// to, and repeats by its own rules. Owned by the caller.
	Client *api.Client
	// NoRedirects leaves a standby's redirection alone; the client does not tell.
	NoRedirects bool

	StaticInterval   time.Duration // between two reads of a secret without a lease; 5m
	RenewalThreshold float64       // fraction of life after which what cannot be renewed is replaced; 0.9
	CertMinRemaining time.Duration // certificates are replaced at least this long before their end; 0
	MinInterval      time.Duration // between two fetches of one secret, whatever its TTL says; 1s
	MaxConcurrent    int           // requests in flight, and as many again for slow ones; 8
	MinBackoff       time.Duration // first pause after a failure; 500ms
	MaxBackoff       time.Duration // longest pause after a failure; 1m
	RequestTimeout   time.Duration // for one request; 1m
	SlowAfter        time.Duration // a request this old makes room for others; 2s
	OverlapLimit     time.Duration // how long a lease replaced under the same login is kept alive; 10m

	// Cache keeps answers over a restart; nil = nothing is kept. With it, Get falls
	// back to an answer of an earlier life when Vault does not answer.
	Cache         Cache
	CacheMaxAge   time.Duration // older answers are not used; 24h
	FallbackAfter time.Duration // a Vault that is silent for so long does not answer; 2s

	// Events sends the request for the server's event stream, whose URL is a path only;
	// nil = no events.
	Events func(*http.Request) (*http.Response, error)

	// OnInvalidToken is told of a token Vault no longer knows, once per token.
	// It must not block.
	OnInvalidToken func(secret.Token)

	// OnUse is told of each answer to a request made with a token, by its HTTP status.
	// It must not block.
	OnUse func(tok secret.Token, status int)

	Logger *slog.Logger // nil = no logs
	Trace  Trace

	clock  func() time.Duration // never steps, runs during suspend
	random func() float64       // [0,1)
}

// complete fills in the defaults and checks the rest; all problems are joined.
func (c Config) complete() (Config, error) {
	var errs []error
	if c.Client == nil {
		errs = append(errs, errors.New("no vault client"))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"StaticInterval", &c.StaticInterval, 5 * time.Minute},
		{"CertMinRemaining", &c.CertMinRemaining, 0},
		{"MinInterval", &c.MinInterval, time.Second},
		{"MinBackoff", &c.MinBackoff, 500 * time.Millisecond},
		{"MaxBackoff", &c.MaxBackoff, time.Minute},
		{"RequestTimeout", &c.RequestTimeout, time.Minute},
		{"SlowAfter", &c.SlowAfter, 2 * time.Second},
		{"CacheMaxAge", &c.CacheMaxAge, 24 * time.Hour},
		{"FallbackAfter", &c.FallbackAfter, 2 * time.Second},
		{"OverlapLimit", &c.OverlapLimit, 10 * time.Minute},
	} {
		switch {
		case *d.value < 0:
			errs = append(errs, fmt.Errorf("%s is negative", d.name))
		case *d.value == 0:
			*d.value = d.def
		}
	}
	if c.RenewalThreshold == 0 {
		c.RenewalThreshold = 0.9
	}
	if c.RenewalThreshold <= 0 || c.RenewalThreshold > 1 {
		errs = append(errs, fmt.Errorf("RenewalThreshold %v is not between 0 and 1", c.RenewalThreshold))
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 8
	}
	if c.MaxConcurrent < 0 {
		errs = append(errs, errors.New("MaxConcurrent is negative"))
	}
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.clock == nil {
		c.clock = clock.Now
	}
	if c.random == nil {
		c.random = rand.Float64
	}
	return c, errors.Join(errs...)
}
