package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/foreign"
)

// DeniedError says that a login was refused or could not be tried with the
// credentials as they are. Waiting does not heal it.
type DeniedError struct {
	MountPath string
	Status    int   // Vault's HTTP status; 0 = no request was made
	Err       error // the cause: *api.ResponseError, *method.CredentialError or *method.WrappingError
}

// Error implements error. It quotes Vault's messages, cut to a sane length, and never a body that is not Vault's.
func (e *DeniedError) Error() string {
	at := ""
	if e.MountPath != "" {
		at = fmt.Sprintf(" at %q", e.MountPath)
	}
	if e.Status == 0 {
		return fmt.Sprintf("log in%s: %v", at, e.Err)
	}
	return fmt.Sprintf("log in%s: denied by vault: %s", at, Describe(e.Err))
}

// Unwrap returns the cause.
func (e *DeniedError) Unwrap() error { return e.Err }

// verdict is what a failed request means for the next one.
type verdict uint8

const (
	transient verdict = iota // may heal by waiting
	denied                   // does not heal with the same credentials
	badToken                 // the token itself is dead
)

func judge(err error) verdict {
	var ce *method.CredentialError
	var we *method.WrappingError
	if errors.As(err, &ce) || errors.As(err, &we) {
		return denied
	}
	switch {
	case method.InvalidToken(err):
		return badToken
	case method.Denied(err):
		return denied
	}
	return transient
}

// pastMaximum reports whether Vault refused a renewal because the token's maximum
// has come, which it says with status 500.
func pastMaximum(err error) bool {
	return err != nil && strings.Contains(err.Error(), "past the max TTL")
}

// wait is what Vault asked for with Retry-After.
func wait(err error) time.Duration {
	var re *method.ResponseError
	if errors.As(err, &re) {
		return re.RetryAfter
	}
	return 0
}

const maxText = 400

// Refused reports whether a failed login or request was denied, so that waiting does not heal it.
func Refused(err error) bool { return judge(err) != transient }

// Describe makes one line of a failed request for a reader. A body that is not Vault's may be
// anything, an echo of our request included, so it is not shown.
func Describe(err error) string {
	var not *foreign.Answer
	if errors.As(err, &not) {
		return not.Error()
	}
	var re *api.ResponseError
	if !errors.As(err, &re) {
		if errors.Is(err, context.DeadlineExceeded) {
			return "no answer in time"
		}
		return clip(foreign.Unquoted(err).Error())
	}
	text := "the answer is not Vault's"
	if !re.RawError {
		text = strings.TrimPrefix(clip(strings.Join(re.Errors, "; ")), "1 error occurred: * ")
	}
	if text == "" {
		text = http.StatusText(re.StatusCode)
	}
	return fmt.Sprintf("status %d: %s", re.StatusCode, text)
}

func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// failure is a transient failure with a text that is safe to show.
type failure struct{ err error }

func (f failure) Error() string { return "log in: " + Describe(f.err) }
func (f failure) Unwrap() error { return f.err }
