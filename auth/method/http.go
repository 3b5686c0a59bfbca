package method

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Direct is a client for metadata services of the machine: no proxy, a short
// time to connect, no connection kept.
func Direct() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Public is a client for the login services of providers: through the proxy
// of the environment, no connection kept.
func Public() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		DisableKeepAlives:   true,
		ForceAttemptHTTP2:   true,
	}}
}

// Fetch makes one request and returns the body of a 200 answer. what names the
// service in errors, which hold neither body nor query.
func Fetch(ctx context.Context, client *http.Client, what string, req *http.Request) ([]byte, error) {
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // its URL may have a query with a signature
			err = ue.Err
		}
		return nil, &SilentError{What: what, Host: req.URL.Host, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{What: what, Status: resp.StatusCode}
	}
	return body, nil
}

// SilentError says that a service that is not Vault gave no answer.
type SilentError struct {
	What, Host string
	Err        error
}

// Error implements error.
func (e *SilentError) Error() string { return fmt.Sprintf("ask %s at %q: %v", e.What, e.Host, e.Err) }

// Unwrap returns the cause.
func (e *SilentError) Unwrap() error { return e.Err }

// BeforeVault reports whether err came from a service that is asked before Vault is.
func BeforeVault(err error) bool {
	var silent *SilentError
	var status *StatusError
	return errors.As(err, &silent) || errors.As(err, &status)
}

// StatusError is an answer of a service that is not Vault, other than 200.
type StatusError struct {
	What   string
	Status int
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("ask %s: status %d %s", e.What, e.Status, http.StatusText(e.Status))
}
