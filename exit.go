package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/internal/admin"
	"github.com/envexec/envexec/internal/foreign"
	"github.com/envexec/envexec/secret"
	"github.com/envexec/envexec/supervise"
)

// The statuses of our own, after sysexits(3) where it has one.
const (
	statusUsage       = 64
	statusUnreachable = 75
	statusDenied      = 77
	statusConfig      = 78
	statusOwn         = 125
	statusNotRunnable = 126
	statusNotFound    = 127
)

// errUnreachable: Vault could not be reached, or was not ready, within the time given.
var errUnreachable = errors.New("vault is not reachable")

// errNoLogin: no login succeeded within the time given, for want of a service other than Vault.
var errNoLogin = errors.New("no login")

// statusOf is the one table from error to exit status and, where there is
// something to do about it, a hint.
func statusOf(err error) (status int, hint string) {
	var (
		usage    *config.UsageError
		problems *config.Error
		denied   *auth.DeniedError
		wrapping *method.WrappingError
		unusable *method.CredentialError
		start    *supervise.StartError
		conflict *environ.ConflictError
		tooLong  *environ.TooLongError
		not      *foreign.Answer
		file     *envtemplate.FileError
		refused  *admin.RefusedError
	)
	switch {
	case errors.As(err, &usage):
		if strings.Contains(err.Error(), "--help") {
			return statusUsage, ""
		}
		return statusUsage, "see envexec --help"
	case errors.As(err, &tooLong): // as a shell says when exec refuses with E2BIG
		return statusNotRunnable, "deliver it as a file: --as-file or --file"
	case errors.As(err, &refused):
		return refused.Status, ""
	case errors.As(err, &problems), errors.As(err, &conflict), errors.As(err, &file) && file.Misplaced():
		return statusConfig, ""
	case errors.As(err, &wrapping):
		return statusDenied, ""
	case errors.As(err, &unusable):
		return statusDenied, unusable.Hint
	case errors.As(err, &denied) && method.InvalidToken(denied):
		return statusDenied, "the token has ended, was revoked, or belongs to another Vault"
	case errors.As(err, &denied) && denied.Status == 0: // no request was made
		return statusDenied, ""
	case errors.As(err, &denied) && strings.Contains(denied.Error(), "missing secret_id"):
		return statusDenied, "no secret id was given: set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or secret_id_file_path"
	case errors.As(err, &denied):
		return statusDenied, "check the credentials and the mount path (envexec check says which are used), then start again: a denied login is not repeated, for Vault locks a role or user out after five"
	case errors.Is(err, secret.ErrForbidden):
		return statusConfig, "the token's policies lack a capability on this path"
	case errors.Is(err, secret.ErrMissing), errors.Is(err, errConfiguration):
		return statusConfig, ""
	case errors.Is(err, errNoLogin):
		return statusUnreachable, "that service is asked before Vault: see that this machine reaches it"
	case errors.Is(err, errUnreachable) && errors.As(err, &not) && !not.Gateway():
		return statusUnreachable, "check the address: it must lead to Vault's API, as https://vault.example.com:8200"
	case errors.Is(err, errUnreachable) && strings.Contains(err.Error(), "remote error: tls: "): // crypto/tls has no type for it
		return statusUnreachable, "the server refused our side of TLS: check VAULT_CLIENT_CERT and VAULT_CLIENT_KEY"
	case errors.Is(err, errUnreachable) && cutOff(err):
		return statusUnreachable, "the server closed the connection: check http or https in VAULT_ADDR, and VAULT_CLIENT_CERT and VAULT_CLIENT_KEY if it wants a certificate"
	case errors.Is(err, errUnreachable):
		return statusUnreachable, "check VAULT_ADDR, http or https, and that the server is up and unsealed"
	case errors.As(err, &start):
		return start.Code, ""
	}
	return statusOwn, ""
}

// cutOff reports whether a server took a connection and closed it. One that refuses our
// side of TLS is often known by no more: it closes before its alert is read.
func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "http2: client conn") // net/http has no type for it
}

// refusal is the status of an envexec reload that failed so. What a program could not be
// started with is here a mistake in the configuration: 127 would say there is no envexec.
func refusal(err error) int {
	status, _ := statusOf(err)
	if status == statusUsage || status == statusNotRunnable || status == statusNotFound {
		return statusConfig
	}
	return status
}

// errConfiguration marks what only a changed configuration can mend.
var errConfiguration = errors.New("configuration")

// misconfigured gives err the status of a configuration problem without changing its text.
type misconfigured struct{ error }

func (m misconfigured) Unwrap() []error { return []error{m.error, errConfiguration} }

// complain writes err for a reader, one problem a line, and returns its status.
func complain(w io.Writer, err error) int {
	status, hint := statusOf(err)
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "envexec: %s\n", strings.TrimRight(line, "\n"))
	}
	if hint != "" {
		fmt.Fprintf(w, "envexec: hint: %s\n", hint)
	}
	return status
}
