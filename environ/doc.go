// Package environ is a process environment as an immutable value: one entry per
// name, merged, stripped and compared without ever printing a value. Names are
// compared as the operating system does: without case on Windows.
package environ
