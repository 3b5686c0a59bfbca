package environ

import (
	"errors"
	"fmt"
	"strings"
)

// Check tells, before exec would with a bare "argument list too long", which
// variables cannot be passed on: names or values with a NUL byte, strings longer
// than the system allows, and a total (with args, the program's arguments) above
// its limit. All problems are joined; values are never shown.
func (e Environ) Check(args ...string) error {
	lim := limits()
	var errs []error
	total, largest := 0, entry{}
	for _, v := range e.sorted() {
		switch {
		case strings.ContainsRune(v.name, 0):
			errs = append(errs, fmt.Errorf("variable %q: name contains a NUL byte", v.name))
		case strings.ContainsRune(v.value, 0):
			errs = append(errs, fmt.Errorf("variable %s: value contains a NUL byte, which no environment can carry", v.name))
		}
		size := measure(v.name) + measure(v.value) + 2 // "=" and the final NUL
		if size > lim.each {
			errs = append(errs, fmt.Errorf("variable %s: %d bytes with its name, the system passes at most %d", v.name, size, lim.each))
		}
		total += size + lim.pointer
		if len(v.value) > len(largest.value) {
			largest = v
		}
	}
	for i, a := range args {
		size := measure(a) + 1
		if size > lim.each {
			errs = append(errs, fmt.Errorf("argument %d: %d bytes, the system passes at most %d", i, size, lim.each))
		}
		total += size + lim.pointer
	}
	if lim.total > 0 && total > lim.total {
		errs = append(errs, fmt.Errorf("environment and arguments: %d bytes together, the system passes at most %d; the largest variable is %s",
			total, lim.total, largest.name))
	}
	return errors.Join(errs...)
}

// limit is what exec accepts: bytes of one string and of all, and what each string's
// pointer costs of the total; total 0 = unlimited.
type limit struct{ each, total, pointer int }
