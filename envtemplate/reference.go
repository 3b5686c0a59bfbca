package envtemplate

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Reference names one key of one secret.
type Reference struct {
	Request secret.Request
	Key     string
	// Template stands in Key's place: a Go template between ${ and } with the secret's keys as its dot.
	Template string
	// Optional: an absent secret or key is Default; without HasDefault there is no value.
	Optional   bool
	Default    string
	HasDefault bool

	cipher string        // vault:v1:… to be decrypted by transit: Request is the batch it is in
	index  int           // its place there
	text   *templateWork // Template, compiled
}

// References is a value with references in it.
type References struct {
	parts []part
}

type part struct {
	literal string
	ref     *Reference // nil = literal
}

// List returns the references in the order they are written.
func (r References) List() []Reference {
	var refs []Reference
	for _, p := range r.parts {
		if p.ref != nil {
			refs = append(refs, *p.ref)
		}
	}
	return refs
}

// Any reports whether there is a reference at all.
func (r References) Any() bool { return len(r.List()) > 0 }

// literal is the text of a value without references, escapes resolved.
func (r References) literal() string {
	var b strings.Builder
	for _, p := range r.parts {
		b.WriteString(p.literal)
	}
	return b.String()
}

const (
	readPrefix  = "vault:"
	writePrefix = ">>vault:"
)

var (
	transitText = regexp.MustCompile(`^vault:v[0-9]+:`)
	inlineStart = regexp.MustCompile(`\$?\$\{(>>)?vault:`)
)

// Errors of references. None quotes the value: it may be a secret that only looks like a reference.
var (
	errNoKey      = errors.New("no #key after the path (write vault:: for a plain \"vault:\")")
	errNoPath     = errors.New("no path before the #")
	errDots       = errors.New("a path cannot contain . or .. as a part: Vault would be asked for another one")
	errEmptyKey   = errors.New("empty key after the #")
	errVersion    = errors.New("version after the second # is not a number")
	errUnclosed   = errors.New("no } after ${vault: (write $${ for a plain \"${\")")
	errBody       = errors.New("data after the second # is not a JSON object")
	errQuery      = errors.New("query of the path cannot be read")
	errLeftover   = errors.New("text after the data")
	errUnreadable = errors.New("not a template between ${ and }")
)

// ParseReferences reads a value as it stands in the environment.
//
//	vault:PATH#KEY[#VERSION][?DEFAULT]    the whole value is one reference
//	>>vault:PATH#KEY[#{JSON}][?DEFAULT]   the same, by a write of the JSON object
//	vault:v1:…                            text encrypted by transit
//	text ${vault:…} text ${vault:…}       any of these inside text
//
// In PATH, KEY and an inline DEFAULT a backslash makes #, ?, {, }, $ and itself plain.
// ?DEFAULT makes the reference optional; with an empty DEFAULT there is no value.
// KEY may be a Go template between ${ and }. vault:: at the start and $${vault: inside
// are a plain vault: and ${vault:. Errors never quote the value.
func ParseReferences(value string) (References, error) {
	switch {
	case strings.HasPrefix(value, "vault::"):
		return References{[]part{{literal: readPrefix + value[len("vault::"):]}}}, nil
	case strings.HasPrefix(value, readPrefix), strings.HasPrefix(value, writePrefix):
		ref, err := parseReference(value, false)
		if err != nil {
			return References{}, err
		}
		return References{[]part{{ref: &ref}}}, nil
	}
	var r References
	for {
		at := inlineStart.FindStringIndex(value)
		if at == nil {
			break
		}
		if strings.HasPrefix(value[at[0]:], "$$") {
			r.add(value[:at[0]] + value[at[0]+1:at[1]])
			value = value[at[1]:]
			continue
		}
		inner := value[at[0]+len("${"):]
		end := closing(inner)
		if end < 0 {
			return References{}, errUnclosed
		}
		ref, err := parseReference(inner[:end], true)
		if err != nil {
			return References{}, err
		}
		r.add(value[:at[0]])
		r.parts = append(r.parts, part{ref: &ref})
		value = inner[end+1:]
	}
	r.add(value)
	return r, nil
}

// ParseReference reads PATH#KEY[#VERSION][?DEFAULT], the form of the command line.
func ParseReference(s string) (Reference, error) { return parseReference(readPrefix+s, false) }

// FromEnviron returns the variables of env that hold references, and those whose
// escapes have to be resolved, sorted by name. Problems name the variable only.
func FromEnviron(env environ.Environ) ([]Variable, error) {
	var vars []Variable
	var problems []error
	for name, value := range env.All() {
		if !strings.Contains(value, readPrefix) {
			continue
		}
		refs, err := ParseReferences(value)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("variable %s: %w", name, err))
		case refs.Any() || refs.literal() != value:
			vars = append(vars, Variable{Name: name, Text: value})
		}
	}
	return vars, errors.Join(problems...)
}

func (r *References) add(literal string) {
	if literal != "" {
		r.parts = append(r.parts, part{literal: literal})
	}
}

// closing finds the } that ends an inline reference, or -1.
func closing(s string) int {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"' && depth > 0:
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

func parseReference(s string, inline bool) (Reference, error) {
	if transitText.MatchString(s) {
		return Reference{cipher: s}, nil
	}
	write := strings.HasPrefix(s, writePrefix)
	s = strings.TrimPrefix(strings.TrimPrefix(s, ">>"), readPrefix)

	path, rest, found := cut(s, "#")
	if !found {
		return Reference{}, errNoKey
	}
	var r Reference
	var err error
	if r.Request, err = request(path); err != nil {
		return Reference{}, err
	}
	key, tail, more := cut(rest, "#?")
	if strings.Contains(key, "${") {
		r.Template = key
		if closing(key[strings.Index(key, "${")+2:]) < 0 {
			return Reference{}, errUnreadable
		}
	} else if r.Key = unescape(key); r.Key == "" {
		return Reference{}, errEmptyKey
	}
	if more && rest[len(key)] == '#' {
		if tail, more, err = r.argument(tail, write); err != nil {
			return Reference{}, err
		}
	}
	if write {
		r.Request.Op = secret.Write
	}
	if more {
		r.Optional = true
		if inline {
			tail = unescape(tail)
		}
		r.Default, r.HasDefault = tail, tail != ""
	}
	return r, nil
}

// argument reads what stands behind the second #: a version, or a write's body.
func (r *Reference) argument(s string, write bool) (tail string, more bool, err error) {
	if !write {
		version, tail, more := cut(s, "?")
		n, err := strconv.ParseUint(version, 10, 31)
		if err != nil {
			return "", false, errVersion
		}
		r.Request.Version = int(n)
		return tail, more, nil
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	if err := dec.Decode(&r.Request.Body); err != nil || r.Request.Body == nil {
		return "", false, errBody
	}
	switch s = s[dec.InputOffset():]; {
	case s == "":
		return "", false, nil
	case s[0] == '?':
		return s[1:], true, nil
	}
	return "", false, errLeftover
}

// request reads a path as users write it: slashes around it do not matter, and it
// may carry a query, of which version means the KV version.
func request(path string) (secret.Request, error) {
	path, query, _ := cut(path, "?")
	req := secret.Request{Path: strings.Trim(strings.TrimSpace(unescape(path)), "/")}
	if req.Path == "" {
		return req, errNoPath
	}
	for part := range strings.SplitSeq(req.Path, "/") {
		if part == "." || part == ".." {
			return req, errDots
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return req, errQuery
	}
	if n, err := strconv.Atoi(values.Get("version")); err == nil && n >= 0 {
		req.Version = n
		values.Del("version")
	}
	if len(values) > 0 {
		req.Query = values
	}
	return req, nil
}

// cut splits s at the first of seps that is not escaped nor inside ${ }.
func cut(s, seps string) (before, after string, found bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '{' && (depth > 0 || i > 0 && s[i-1] == '$'):
			depth++
		case c == '}' && depth > 0:
			depth--
		case depth == 0 && strings.IndexByte(seps, c) >= 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// unescape resolves backslashes before the characters references give a meaning to.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`#?{}$\`, s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
