package config

import (
	"fmt"
	"strings"
)

// Position is a place in a configuration file; the zero value is "not from a file".
type Position struct {
	File   string
	Line   int // from 1
	Column int // from 1
}

// String prints file:line:column, leaving out what is not known.
func (p Position) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Problem is one thing wrong with the configuration.
type Problem struct {
	Pos     Position
	Source  string // flag or variable when it is not a file, e.g. "--refresh"
	Key     string // dotted, e.g. auto_auth.method.type
	Message string
	Hint    string // e.g. `did you mean "address"?`
}

// Error prints the place, the message and the hint.
func (p Problem) Error() string {
	var b strings.Builder
	if at := p.Pos.String(); at != "" {
		b.WriteString(at + ": ")
	} else if p.Source != "" {
		b.WriteString(p.Source + ": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Error lists all problems of a configuration (exit status 78).
type Error struct{ Problems []Problem }

// Error prints one problem a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each problem.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// UsageError is a command line that cannot be meant (exit status 64).
type UsageError struct {
	Message string
	Hint    string
}

// Error prints the message and the hint.
func (e *UsageError) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}
