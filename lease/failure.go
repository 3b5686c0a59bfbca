package lease

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/foreign"
	"github.com/envexec/envexec/secret"
)

// ErrClosed says that the Store has stopped.
var ErrClosed = errors.New("lease store is closed")

// AnswerError is an answer that no waiting turns into a secret. It wraps
// secret.ErrMissing or secret.ErrForbidden where it is one of these.
type AnswerError struct {
	Request  string   // secret.Request.String: no body
	Status   int      // of the HTTP answer
	Messages []string // what Vault said
	Detail   string   // what we know beyond that
	kind     error
	foreign  *foreign.Answer // it is not Vault's; nil = it is
}

// Error names the request, the kind and what Vault said.
func (e *AnswerError) Error() string {
	if e.foreign != nil {
		return e.Request + ": " + e.foreign.Error()
	}
	parts := make([]string, 0, 3)
	if e.kind != nil {
		parts = append(parts, e.kind.Error())
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if len(parts) == 0 {
		parts = append(parts, "refused")
	}
	parts[0] += fmt.Sprintf(" (%d)", e.Status)
	if text := said(e.Messages); text != "" && !strings.HasPrefix(strings.ToLower(parts[0]), strings.ToLower(text)) {
		parts = append(parts, text)
	}
	return e.Request + ": " + strings.Join(parts, ": ")
}

// Unwrap returns secret.ErrMissing or secret.ErrForbidden, or a *foreign.Answer, or nil.
func (e *AnswerError) Unwrap() error {
	if e.foreign != nil {
		return e.foreign
	}
	return e.kind
}

// failureKind says what a failed request means for its entry.
type failureKind uint8

const (
	transient    failureKind = iota // heals by waiting
	refused                         // does not: the reader is told
	badToken                        // the token is no more
	uncertain                       // a write whose outcome is unknown
	leaseGone                       // a renewal: the lease is over
	notRenewable                    // a renewal: the lease may not or cannot be renewed
)

// failure is a request that gave no secret.
type failure struct {
	kind failureKind
	wish time.Duration // the server's Retry-After
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// classify turns the client's error into a failure. sent: the request left us whole.
func classify(req secret.Request, resp *api.Response, err error, sent bool) *failure {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		f := &failure{kind: transient, err: fmt.Errorf("%s: %w", req, err)}
		if sent && req.Op == secret.Write {
			f.kind, f.err = uncertain, fmt.Errorf("%s: %w: %w", req, secret.ErrUncertain, err)
		}
		return f
	}
	refusal := &AnswerError{Request: req.String(), Status: answer.StatusCode, Messages: answer.Errors}
	if answer.RawError { // not Vault's words: a proxy's page, of any length and content
		return notVault(req, resp, strings.Join(answer.Errors, "\n"))
	}
	f := &failure{kind: refused, err: refusal}
	switch status := answer.StatusCode; {
	case status == http.StatusForbidden && strings.Contains(said(answer.Errors), "invalid token"):
		f.kind = badToken
	case status == http.StatusForbidden:
		refusal.kind = secret.ErrForbidden
	case status == http.StatusNotFound:
		refusal.kind = secret.ErrMissing
	case nothingDone(status):
		f.kind = transient
		refusal.Detail = plainWords(status, answer.Errors)
		if resp != nil {
			f.wish = retryAfter(resp.Header)
		}
	case status >= 500 || status == http.StatusRequestTimeout:
		f.kind = transient
		if req.Op == secret.Write {
			f.kind, f.err = uncertain, fmt.Errorf("%w: %w", secret.ErrUncertain, refusal)
		}
	}
	return f
}

// notVault is what came from something between us and Vault, whatever its status: it says
// nothing about the secret.
func notVault(req secret.Request, resp *api.Response, body string) *failure {
	refusal := &AnswerError{Request: req.String(), Status: resp.StatusCode, foreign: foreign.Of(resp.Response, []byte(body))}
	f := &failure{kind: transient, wish: retryAfter(resp.Header), err: refusal}
	if req.Op == secret.Write && !nothingDone(resp.StatusCode) {
		f.kind, f.err = uncertain, fmt.Errorf("%w: %w", secret.ErrUncertain, refusal)
	}
	return f
}

// nothingDone lists the answers that promise that Vault did not touch the request.
func nothingDone(status int) bool {
	switch status {
	case http.StatusTooManyRequests, // rate limit
		http.StatusPreconditionFailed, // standby lags behind
		http.StatusNotImplemented,     // not initialised
		http.StatusServiceUnavailable, // sealed, or no active node
		472, 473:                      // a standby of replication
		return true
	}
	return false
}

// plainWords says what an operator needs to know of a status.
func plainWords(status int, messages []string) string {
	switch {
	case status == http.StatusServiceUnavailable && strings.Contains(said(messages), "sealed"):
		return "vault is sealed"
	case status == http.StatusServiceUnavailable:
		return "vault is unavailable"
	case status == http.StatusNotImplemented:
		return "vault is not initialised"
	case status == http.StatusTooManyRequests:
		return "vault limits the rate of requests"
	}
	return ""
}

// said joins Vault's messages on one line, without its heading for a list of one.
func said(messages []string) string {
	text := strings.Join(strings.Fields(strings.Join(messages, "; ")), " ")
	return strings.TrimPrefix(text, "1 error occurred: * ")
}

// retryAfter reads the header: seconds, or a date counted against the server's own.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
