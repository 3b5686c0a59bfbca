package config

import (
	"errors"
	"fmt"
)

// report gathers what is wrong. A doubt is what Vault's agent or proxy may let pass in
// silence, and that is nearly everything: proxy does not read the agent's stanzas, both do
// not read ours. It is an error here, a warning under --lenient.
type report struct {
	lenient  bool
	dir      string // where relative paths begin
	problems []Problem
	warnings []Problem
}

func (r *report) fail(pos Position, key, message, hint string) { //nolint:unparam // the shape of doubt
	r.problems = append(r.problems, Problem{Pos: pos, Key: key, Message: message, Hint: hint})
}

func (r *report) warn(pos Position, key, message, hint string) {
	r.warnings = append(r.warnings, Problem{Pos: pos, Key: key, Message: message, Hint: hint})
}

func (r *report) doubt(pos Position, key, message, hint string) {
	r.doubtProblem(Problem{Pos: pos, Key: key, Message: message, Hint: hint})
}

func (r *report) noEffect(pos Position, key, why string) {
	r.warn(pos, key, "has no effect: "+why, "")
}

func (r *report) failSource(source, message, hint string) {
	r.problems = append(r.problems, Problem{Source: source, Message: message, Hint: hint})
}

// doubtSource is doubt about something that is not a place in a file.
func (r *report) doubtSource(source, key, message, hint string) {
	r.doubtProblem(Problem{Source: source, Key: key, Message: message, Hint: hint})
}

func (r *report) doubtProblem(p Problem) {
	if r.lenient {
		r.warnings = append(r.warnings, p)
		return
	}
	r.problems = append(r.problems, p)
}

// failErr keeps an error that already is a Problem as it is.
func (r *report) failErr(file string, err error) {
	var p Problem
	if !errors.As(err, &p) {
		p = Problem{Pos: Position{File: file}, Message: fmt.Sprint(err)}
	}
	r.problems = append(r.problems, p)
}

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &Error{Problems: r.problems}
}
