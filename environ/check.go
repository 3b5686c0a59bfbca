package environ

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Check tells, before exec would with a bare "argument list too long", which
// variables cannot be passed on: names or values with a NUL byte, strings longer
// than the system allows, and a total (with args, the program's arguments) above
// its limit (both *TooLongError). All problems are joined; values are never shown.
func (e Environ) Check(args ...string) error {
	lim := limits()
	var errs []error
	total, largest, most := 0, "", -1
	for name, value := range e.All() {
		switch {
		case strings.ContainsRune(name, 0):
			errs = append(errs, fmt.Errorf("variable %q: name contains a NUL byte", name))
		case strings.ContainsRune(value, 0):
			errs = append(errs, fmt.Errorf("variable %s: value contains a NUL byte, which no environment can carry", name))
		}
		size := measure(name) + measure(value) + 2 // "=" and the final NUL
		if size > lim.each {
			errs = append(errs, &TooLongError{What: "variable " + name, Size: size, Limit: lim.each})
		}
		total += size + lim.pointer
		if len(value) > most {
			largest, most = name, len(value)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	for i, a := range args {
		size := measure(a) + 1
		if size > lim.each {
			errs = append(errs, &TooLongError{What: fmt.Sprintf("argument %d", i), Size: size, Limit: lim.each})
		}
		total += size + lim.pointer
	}
	if size := commandLine(args); lim.line > 0 && size > lim.line {
		errs = append(errs, &TooLongError{What: "all arguments together, with their quotes", Size: size, Limit: lim.line})
	}
	if lim.total > 0 && total > lim.total {
		errs = append(errs, &TooLongError{What: "environment and arguments together, of which " + largest + " is the largest variable", Size: total, Limit: lim.total})
	}
	return errors.Join(errs...)
}

// TooLongError is what exec would refuse as too long an argument list (E2BIG).
type TooLongError struct {
	What        string // the variable, the argument, or all together
	Size, Limit int    // bytes; on Windows characters of UTF-16
}

// Error names what is too long, never its value.
func (e *TooLongError) Error() string {
	return fmt.Sprintf("%s: %d %s, the system passes at most %d", e.What, e.Size, unit, e.Limit)
}

// limit is what exec accepts: the size of one string and of all, what each string's
// pointer costs of the total, and the size of the arguments as one line; 0 = unlimited.
type limit struct{ each, total, pointer, line int }
