package envtemplate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/envexec/envexec/secret"
)

// valueText is a secret's value as the program gets it: strings as they are, numbers
// as Vault wrote them, objects and lists as compact JSON. null is no value at all.
func valueText(v any) (text string, there bool, err error) {
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	case json.Number:
		return v.String(), true, nil
	case bool:
		return strconv.FormatBool(v), true, nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", false, fmt.Errorf("value cannot be written as JSON") // the cause may quote it
	}
	return strings.TrimSuffix(b.String(), "\n"), true, nil
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// missingKey is the error for a key a secret lacks.
func missingKey(s *secret.Secret, key string) error {
	return &KeyError{Request: s.Request.String(), Key: key, Keys: s.Keys()}
}

// KeyError says that a secret is there but lacks a key. It wraps secret.ErrMissing.
type KeyError struct {
	Request string   // as secret.Request.String
	Key     string   // the one asked for
	Keys    []string // those there are, sorted
}

// Error names the keys that exist.
func (e *KeyError) Error() string {
	if len(e.Keys) == 0 {
		return fmt.Sprintf("%s has no key %q: it has no keys at all", e.Request, e.Key)
	}
	return fmt.Sprintf("%s has no key %q, only: %s", e.Request, e.Key, strings.Join(e.Keys, ", "))
}

// Unwrap returns secret.ErrMissing.
func (e *KeyError) Unwrap() error { return secret.ErrMissing }
