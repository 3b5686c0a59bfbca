package method

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/foreign"
)

// CredentialError says that a login could not be tried: a credential is absent,
// empty or unusable. Trying again with the same credentials does not help.
type CredentialError struct {
	What string // "secret id", "service account token"
	Path string // the file it should come from; "" when it is not a file
	Err  error  // why
	Hint string // what to do about it; "" = what Err says is enough
}

// Error implements error.
func (e *CredentialError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("read %s: %v", e.What, e.Err)
	}
	return fmt.Sprintf("read %s from %q: %v", e.What, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *CredentialError) Unwrap() error { return e.Err }

// WrappingError says that a response-wrapping token did not hold what it should.
// It is a security event: someone else may have unwrapped the credential first.
type WrappingError struct {
	What string // what was wrapped: "secret id"
	Path string // the file the wrapping token came from
	// Created is the creation path Vault told, when it is not the expected one; "" when
	// the token is unknown to Vault: already unwrapped, expired or never valid.
	Created, Expected string
}

// Error implements error.
func (e *WrappingError) Error() string {
	if e.Created != "" {
		return fmt.Sprintf("unwrap %s from %q: the wrapping token was created at %q, not at %q: it may have been planted; "+
			"do not use it, and find out who wrote it", e.What, e.Path, e.Created, e.Expected)
	}
	return fmt.Sprintf("unwrap %s from %q: the wrapping token was already used or has expired: if no process of yours unwrapped it, "+
		"it may have been intercepted; revoke the %s and deliver a new one", e.What, e.Path, e.What)
}

// Refusal turns err into a *CredentialError when it is a status 500 of Vault whose
// message holds one of texts: what a plugin says of credentials its provider
// refused, where it does not answer with a 4xx. what names the credentials.
func Refusal(what string, err error, texts ...string) error {
	var re *api.ResponseError
	if !errors.As(err, &re) || re.StatusCode != http.StatusInternalServerError {
		return err
	}
	said := strings.Join(re.Errors, "\n")
	for _, text := range texts {
		if strings.Contains(said, text) {
			return &CredentialError{What: what, Err: err}
		}
	}
	return err
}

// Denied reports whether err is Vault's own no, which waiting does not change.
func Denied(err error) bool {
	var re *api.ResponseError
	if !errors.As(err, &re) || re.RawError { // what is not Vault's answer came from something before it
		return false
	}
	switch re.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout,
		http.StatusPreconditionFailed, 472, 473: // standby and consistency answers
		return false
	}
	return re.StatusCode >= 400 && re.StatusCode < 500
}

// answered reports whether Vault has given its word on the credentials of a login.
func answered(err error) bool {
	var we *WrappingError
	return err == nil || errors.As(err, &we) || Denied(err)
}

// ResponseError is Vault's refusal with what api.ResponseError has no place for.
type ResponseError struct {
	*api.ResponseError
	RetryAfter time.Duration   // 0 = not said
	Foreign    *foreign.Answer // it is no answer of Vault's; nil = it is
}

// Unwrap returns the plain error and Foreign, for errors.As.
func (e *ResponseError) Unwrap() []error {
	if e.Foreign != nil {
		return []error{e.ResponseError, e.Foreign}
	}
	return []error{e.ResponseError}
}
