package envtemplate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/envexec/envexec/secret"
)

// withheld stands for an engine's message that may quote a secret.
const withheld = "the engine's message is withheld, it may quote a secret"

var (
	// engineError takes an execution error apart: line, column, action, detail.
	engineError = regexp.MustCompile(`(?s)^(?:execute: )?template: [^\n]*?:(\d+):(\d+): executing "[^\n]*?" at <(.*?)>: (.*)$`)
	noEntry     = regexp.MustCompile(`^map has no entry for key "(.*)"$`)
	callFailed  = regexp.MustCompile(`(?s)^error calling (\w+): (.*)$`)
)

// harmless are the beginnings of messages that quote types and the template only.
var harmless = []string{
	"can't evaluate field", "nil data", "nil pointer", "wrong number of args", "wrong type for value", "invalid value; expected",
	"can't call method/function", "function", "undefined variable", "template", "exceeded maximum template depth",
	"range can't iterate over <nil>", "range can't iterate over nil", "nil is not a command",
}

// harmlessFuncs are those whose errors name types and positions only.
var harmlessFuncs = []string{"index", "slice", "len", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"}

// explain turns the engine's error into ours: with a place, with the chain of what
// one of our functions said, and without anything that may be a secret.
func (e *execution) explain(err error) error {
	m := engineError.FindStringSubmatch(err.Error())
	if m == nil {
		if e.failed != nil {
			return fmt.Errorf("%s: %w", e.work.src.name, e.failed)
		}
		return fmt.Errorf("%s: %s", e.work.src.name, withheld)
	}
	place := fmt.Sprintf("%s:%s", e.work.src.name, m[1])
	if e.failed != nil {
		return fmt.Errorf("%s: %w", place, e.failed)
	}
	action, detail := m[3], m[4]
	if key := noEntry.FindStringSubmatch(detail); key != nil {
		line, _ := strconv.Atoi(m[1])
		column, _ := strconv.Atoi(m[2])
		return fmt.Errorf("%s: %w", place, e.missing(action, key[1], e.work.src.offset(line, column)))
	}
	return fmt.Errorf("%s: at <%s>: %s", place, action, redact(detail))
}

// redact lets a message pass that cannot quote a value.
func redact(detail string) string {
	if m := callFailed.FindStringSubmatch(detail); m != nil {
		if inner := engineError.FindStringSubmatch(m[2]); inner != nil { // executeTemplate
			return fmt.Sprintf("line %s: at <%s>: %s", inner[1], inner[3], redact(inner[4]))
		}
		if slices.Contains(harmlessFuncs, m[1]) {
			return detail
		}
		return fmt.Sprintf("error calling %s: %s", m[1], withheld)
	}
	for _, h := range harmless {
		if strings.HasPrefix(detail, h) {
			return detail
		}
	}
	return withheld
}

// missing says which secret lacks key: the one that is the dot there, or the only
// one read, or those read that lack it.
func (e *execution) missing(action, key string, pos int) error {
	from := e.used
	if req, ok := e.work.src.secretAt(pos); ok {
		if i := slices.IndexFunc(from, func(s *secret.Secret) bool { return s.Request.Key() == req.Key() }); i >= 0 {
			from = from[i : i+1]
		}
	}
	var errs []error
	for _, s := range from {
		if err := lacking(s, action, key); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("<%s>: there is no key %q: %w", action, key, secret.ErrMissing)
	}
	return errors.Join(errs...)
}

// lacking returns the error for s, or nil if key is there after all.
func lacking(s *secret.Secret, action, key string) error {
	if s.KV == 2 && strings.HasSuffix(action, ".Data."+key) {
		err := &KeyError{Request: s.Request.String(), Key: key, Keys: sortedKeys(s.Data)}
		if _, there := s.Values()[key]; there {
			return fmt.Errorf("%w (a KV version 2 secret: write .Data.data.%s)", err, key)
		}
		return err
	}
	if _, there := s.Values()[key]; there {
		return nil
	}
	return missingKey(s, key)
}

// offset is the position in the text of a line and column as the engine counts them.
func (s *source) offset(line, column int) int {
	pos := 0
	for range line - 1 {
		i := strings.IndexByte(s.text[pos:], '\n')
		if i < 0 {
			return len(s.text)
		}
		pos += i + 1
	}
	return min(pos+column, len(s.text))
}
