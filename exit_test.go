package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
)

// TestAClosedConnectionHasAHint: each form in which a server's refusal of our
// certificate was seen.
func TestAClosedConnectionHasAHint(t *testing.T) {
	for _, cause := range []error{syscall.ECONNRESET, syscall.EPIPE, io.EOF, errors.New("http2: client conn could not be established")} {
		status, hint := statusOf(fmt.Errorf("%w within 1s: %w", errUnreachable, cause))
		if status != statusUnreachable || !strings.Contains(hint, "VAULT_CLIENT_CERT") {
			t.Errorf("%v: status %d, hint %q", cause, status, hint)
		}
	}
	if _, hint := statusOf(fmt.Errorf("%w within 1s: %w", errUnreachable, syscall.ECONNREFUSED)); strings.Contains(hint, "VAULT_CLIENT_CERT") {
		t.Errorf("refused: hint %q", hint)
	}
}
