package lease

import (
	"time"

	"github.com/envexec/envexec/secret"
)

// Trace is a set of optional hooks, for metrics and tests. They are called
// without a lock held, from several goroutines, and must not block.
type Trace struct {
	OnRequest func(req secret.Request, status int, took time.Duration, err error) // one HTTP request; status 0 = no answer
	OnChange  func(key secret.Key, s *secret.Secret)                              // a first or new value
	OnRenew   func(key secret.Key, ttl time.Duration)                             // a lease got more time
	OnRetry   func(key secret.Key, wait time.Duration, err error)                 // a failure and the pause after it
}

func (t Trace) request(req secret.Request, status int, took time.Duration, err error) {
	if t.OnRequest != nil {
		t.OnRequest(req, status, took, err)
	}
}

func (t Trace) change(key secret.Key, s *secret.Secret) {
	if t.OnChange != nil {
		t.OnChange(key, s)
	}
}

func (t Trace) renew(key secret.Key, ttl time.Duration) {
	if t.OnRenew != nil {
		t.OnRenew(key, ttl)
	}
}

func (t Trace) retry(key secret.Key, wait time.Duration, err error) {
	if t.OnRetry != nil {
		t.OnRetry(key, wait, err)
	}
}
