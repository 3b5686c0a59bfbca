// Package fault makes an error of a panic: it says where it happened and not with
// which value, which may hold a secret.
package fault

import (
	"fmt"
	"runtime"
	"strings"
)

// Error is a panic.
type Error struct {
	What  string   // the runtime's own words, or the type of the value
	Where []string // "function file:line", innermost first
}

// Error implements error.
func (e *Error) Error() string {
	return "internal error, please report it: " + e.What + "\n  at " + strings.Join(e.Where, "\n  at ")
}

// Try runs f and returns its error, or its panic as an *Error.
func Try(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = describe(v)
		}
	}()
	return f()
}

// depth bounds how much of the stack is shown.
const depth = 16

func describe(v any) *Error {
	if again, ok := v.(*Error); ok {
		return again
	}
	e := &Error{What: fmt.Sprintf("panic with a %T", v)}
	if err, ok := v.(runtime.Error); ok {
		e.What = err.Error()
	}
	pcs := make([]uintptr, depth)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)]) // above Callers, describe, the deferred function, gopanic
	for {
		frame, more := frames.Next()
		e.Where = append(e.Where, fmt.Sprintf("%s %s:%d", frame.Function, frame.File, frame.Line))
		if !more {
			return e
		}
	}
}
