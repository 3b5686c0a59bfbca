// Package secret is the vocabulary the rooms of envexec share: how a secret is
// asked for, what Vault answered, and the token it was read with. It is a leaf:
// it imports only the standard library and does nothing by itself.
package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Text is a string that cannot be formatted, logged or marshalled by accident:
// every such road prints a fixed placeholder. Reveal is the only way out.
type Text struct{ s string }

const placeholder = "[secret]"

// NewText wraps s.
func NewText(s string) Text { return Text{s} }

// Reveal returns the string itself. Call it only where the value must leave us.
func (t Text) Reveal() string { return t.s }

// Empty reports whether there is no text.
func (t Text) Empty() bool { return t.s == "" }

// Equal compares two texts.
func (t Text) Equal(o Text) bool { return t.s == o.s }

// Format implements fmt.Formatter for every verb, so %v, %q, %x and %#v are all safe.
func (Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// String implements fmt.Stringer.
func (Text) String() string { return placeholder }

// LogValue implements slog.LogValuer.
func (Text) LogValue() slog.Value { return slog.StringValue(placeholder) }

// MarshalText implements encoding.TextMarshaler, which JSON and slog also use.
func (Text) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// UnmarshalText implements encoding.TextUnmarshaler: configuration may carry secrets in.
func (t *Text) UnmarshalText(b []byte) error { t.s = string(b); return nil }

// Op is what a Request does at its path.
type Op uint8

const (
	// Read is GET (vault read).
	Read Op = iota
	// List is LIST (vault list).
	List
	// Write is PUT with a body (vault write): pki issue, transit, ssh. Never repeated unless it must be.
	Write
)

// String returns the verb of the vault command line.
func (o Op) String() string { return [...]string{"read", "list", "write"}[o] }

// Request names one secret as its reader wrote it.
type Request struct {
	Op        Op
	Path      string         // below /v1/, without leading slash, as written: KV version is the store's business
	Namespace string         // relative to the session's namespace; "" = the same
	Version   int            // KV v2 version; 0 = the newest
	Query     url.Values     // further query parameters; nil as a rule
	Body      map[string]any // Write only

	// Refresh is how often a static secret is read again; 0 = the store's default.
	// It is not part of the request's identity: the shortest wish wins.
	Refresh time.Duration
}

// Key identifies a Request: equal keys are one secret, fetched once.
type Key string

// Key returns r's identity.
func (r Request) Key() Key {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q %d", r.Op, r.Namespace, r.Path, r.Version)
	if len(r.Query) > 0 {
		fmt.Fprintf(&b, " ?%s", r.Query.Encode())
	}
	if len(r.Body) > 0 {
		body, _ := json.Marshal(r.Body) // maps marshal sorted; unmarshalable values cannot reach a Vault body
		fmt.Fprintf(&b, " %s", body)
	}
	return Key(b.String())
}

// String names r in messages: operation, path and version, never the body.
func (r Request) String() string {
	s := r.Path
	if r.Version != 0 {
		s += fmt.Sprintf("#%d", r.Version)
	}
	if r.Op != Read {
		s = r.Op.String() + " " + s
	}
	return s
}

// Secret is one answer of Vault. It is immutable once handed out; a newer
// answer is a new Secret.
type Secret struct {
	Request Request
	// Data is the answer's "data" object with numbers kept as json.Number. For KV v2
	// it is the whole envelope: Data["data"] holds the keys, Data["metadata"] the version.
	Data     map[string]any
	Warnings []string

	KV      int // 1 or 2 when it is a KV secret of that version, read or unwrapped; else 0
	Version int // KV v2 version read, else 0

	LeaseID   string
	LeaseTTL  time.Duration // as Vault said at ReadAt
	Renewable bool
	ReadAt    time.Time
	// Epoch is the login (Token.Epoch) this secret dies with; 0 = it does not depend on a token's life.
	Epoch uint64
}

// Values returns the secret's own keys: for KV v2 the inner data, else Data.
func (s *Secret) Values() map[string]any {
	if s.KV == 2 {
		m, _ := s.Data["data"].(map[string]any)
		return m
	}
	return s.Data
}

// Keys returns the sorted names of Values, for error messages.
func (s *Secret) Keys() []string { return slices.Sorted(maps.Keys(s.Values())) }

// Format prints the request only, whatever the verb.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Request.String()) }

// LogValue implements slog.LogValuer.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(s.Request.String()) }

// Token is one login's result.
type Token struct {
	ID        Text
	Accessor  string
	Epoch     uint64 // 1 for the first login, then rising by one
	Namespace string // the namespace requests are made in; "" = root or the client's own
	Policies  []string
	Kind      string        // "service" or "batch"; "" when unknown
	TTL       time.Duration // at At; 0 = does not end (root)
	Period    time.Duration // > 0: periodic, renewal has no maximum
	Renewable bool
	NumUses   int       // 0 = unlimited
	At        time.Time // when TTL was said
	Own       bool      // envexec logged in for it, so envexec may revoke it
}

// Errors a read can end with that do not heal by waiting. Use errors.Is.
var (
	// ErrMissing: the path or the key is not there (404, or a key the secret lacks).
	ErrMissing = errors.New("secret is missing")
	// ErrUncertain: a write was sent and its answer lost, so Vault may have done it. It is
	// not sent again by itself; asking again sends it again.
	ErrUncertain = errors.New("the write may have been done: its answer was lost")
	// ErrForbidden: the token may not do this (403 that is not a bad token).
	ErrForbidden = errors.New("permission denied")
)
