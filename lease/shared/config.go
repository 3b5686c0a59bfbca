package shared

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/secret"
)

// Config configures a Cache. Zero values mean the default named in each comment.
type Config struct {
	// Do sends the Cache's own requests: renewals, look-ups and re-reads. URL holds
	// path and query only; the caller of Do adds the rest.
	Do func(*http.Request) (*http.Response, error)

	// Events waits for a token to open the server's event stream with; nil = not opened.
	Events func(context.Context) (*secret.Token, error)

	Leases      bool // keep leases and created tokens
	Static      bool // keep KV secrets
	ShareLogins bool // equal logins share one token

	MaxAge        time.Duration // of a KV secret; 0 = every read goes to Vault
	MaxAgeEvents  time.Duration // the same while the server tells of its changes; 1m
	MaxAgeOffline time.Duration // the same while Vault does not answer; 0 = not served then
	TicketLife    time.Duration // how long a caller's own read earns hits; 5m
	Pessimistic   bool          // tickets end in time also while Vault does not answer

	MaxBytes  int64 // of all entries; 64 MiB
	MaxAnswer int64 // larger answers are not kept; 1 MiB

	Persist       Persist       // where entries outlive a restart; nil = memory only
	PersistMaxAge time.Duration // older records are not used; 24h

	RenewWorkers int           // renewals at once; 8
	MinBackoff   time.Duration // first pause after a failed renewal; 1s
	MaxBackoff   time.Duration // longest; 1m

	Logger *slog.Logger // nil = no logs

	clock  func() time.Duration
	random func() float64
}

func (c Config) complete() (Config, error) {
	var errs []error
	if c.Do == nil {
		errs = append(errs, errors.New("no way to send requests"))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"MaxAge", &c.MaxAge, 0}, {"MaxAgeOffline", &c.MaxAgeOffline, 0},
		{"TicketLife", &c.TicketLife, 5 * time.Minute}, {"MaxAgeEvents", &c.MaxAgeEvents, time.Minute},
		{"PersistMaxAge", &c.PersistMaxAge, 24 * time.Hour},
		{"MinBackoff", &c.MinBackoff, time.Second}, {"MaxBackoff", &c.MaxBackoff, time.Minute},
	} {
		if *d.value < 0 {
			errs = append(errs, errors.New(d.name+" is negative"))
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = 1 << 20
	}
	if c.MaxBytes < 0 || c.MaxAnswer < 0 || c.RenewWorkers < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	if c.RenewWorkers == 0 {
		c.RenewWorkers = 8
	}
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
