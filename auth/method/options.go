package method

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envexec/envexec/secret"
)

// Options reads a method's "config" block (HCL or JSON) key by key, with the
// value rules of Vault Agent, and collects every problem. Keys are not case
// sensitive.
type Options struct {
	values map[string]any
	known  []string
	errs   []error
}

// NewOptions reads m, which is not changed.
func NewOptions(m map[string]any) *Options {
	o := &Options{values: map[string]any{}}
	for k, v := range m {
		o.values[strings.ToLower(k)] = v
	}
	return o
}

func (o *Options) take(key string) (any, bool) {
	o.known = append(o.known, key)
	v, ok := o.values[key]
	return v, ok
}

func (o *Options) fail(key, want string, v any) {
	o.errs = append(o.errs, fmt.Errorf("%s: want %s, not a %T", key, want, v))
}

// String returns the text at key, or def when the key is absent. Numbers and booleans are no text.
func (o *Options) String(key, def string) string {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		o.fail(key, "text in quotes", v)
		return def
	}
	return s
}

// Text returns the secret at key, written as text or as a secret.Text.
func (o *Options) Text(key string) secret.Text {
	v, _ := o.take(key)
	switch t := v.(type) {
	case nil:
		return secret.Text{}
	case secret.Text:
		return t
	case string:
		return secret.NewText(t)
	}
	o.fail(key, "text in quotes", v)
	return secret.Text{}
}

// OneOf notes that exactly one of the keys must be written.
func (o *Options) OneOf(keys ...string) {
	n := 0
	for _, k := range keys {
		if o.Has(k) {
			n++
		}
	}
	if n != 1 {
		o.errs = append(o.errs, fmt.Errorf("%s: exactly one of them is required", strings.Join(keys, ", ")))
	}
}

// Has reports whether key is written, whatever its value.
func (o *Options) Has(key string) bool { _, ok := o.values[key]; return ok }

// Bool returns the boolean at key: true, 1, "true", "1", "t" and their opposites.
func (o *Options) Bool(key string, def bool) bool {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	switch b := v.(type) {
	case bool:
		return b
	case string:
		if p, err := strconv.ParseBool(b); err == nil {
			return p
		}
	default:
		if n, ok := number(v); ok {
			return n != 0
		}
	}
	o.fail(key, "a boolean", v)
	return def
}

// Int returns the whole number at key, also when it is written in quotes.
func (o *Options) Int(key string, def int) int {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	if n, ok := number(v); ok && n == math.Trunc(n) && math.Abs(n) < 1<<31 {
		return int(n)
	}
	o.fail(key, "a whole number", v)
	return def
}

// Duration returns the duration at key: a number of seconds, "90", "1m30s" or
// "2d". It must be above zero; an empty text is def.
func (o *Options) Duration(key string, def time.Duration) time.Duration {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	d, ok := duration(v)
	switch {
	case v == "":
		return def
	case !ok:
		o.fail(key, "a duration as 90 or \"1m30s\"", v)
		return def
	case d <= 0:
		o.errs = append(o.errs, fmt.Errorf("%s: must be above zero", key))
		return def
	}
	return d
}

func duration(v any) (time.Duration, bool) {
	if n, ok := number(v); ok {
		d := n * float64(time.Second)
		return time.Duration(d), math.Abs(d) < math.MaxInt64
	}
	s, _ := v.(string)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// number accepts every Go form of a number a decoder may give, and a number in quotes.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	case string:
		f, err := strconv.ParseFloat(n, 64)
		return f, err == nil && n == strings.TrimSpace(n)
	}
	return 0, false
}

// Require notes the keys, written with String before, that must not be empty.
func (o *Options) Require(key, value string) {
	if value == "" {
		o.errs = append(o.errs, fmt.Errorf("%s: is required", key))
	}
}

// Err returns all problems found, unknown keys included; nil when there is none.
func (o *Options) Err() error {
	errs := slices.Clone(o.errs)
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if slices.Contains(o.known, key) {
			continue
		}
		if near := nearest(key, o.known); near != "" {
			errs = append(errs, fmt.Errorf("%s: unknown key, did you mean %s?", key, near))
			continue
		}
		errs = append(errs, fmt.Errorf("%s: unknown key; known are %s", key, strings.Join(o.known, ", ")))
	}
	return errors.Join(errs...)
}

// nearest returns the known key within a third of the letters' changes of key.
func nearest(key string, known []string) string {
	best, at := len(key)/3+1, ""
	for _, k := range known {
		if d := distance(key, k); d < best {
			best, at = d, k
		}
	}
	return at
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
