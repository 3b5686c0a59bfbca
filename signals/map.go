package signals

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Map rewrites signals on their way to the program; 0 drops one. The zero Map
// changes nothing.
type Map map[syscall.Signal]syscall.Signal

// ParseMap reads "TERM=QUIT,INT=0": names or numbers, 0 to drop. Every problem
// is reported. A source must be a signal that can be forwarded at all.
func ParseMap(s string) (Map, error) {
	if s == "" {
		return nil, nil
	}
	m := Map{}
	var errs []error
	for part := range strings.SplitSeq(s, ",") {
		from, to, err := parsePair(part)
		if err == nil {
			if _, twice := m[from]; twice {
				err = fmt.Errorf("signal map %q: %s is mapped twice", part, Name(from))
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m[from] = to
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return m, nil
}

func parsePair(part string) (from, to syscall.Signal, err error) {
	left, right, ok := strings.Cut(part, "=")
	if !ok {
		return 0, 0, fmt.Errorf("signal map %q: want FROM=TO", part)
	}
	if from, err = Parse(left); err != nil {
		return 0, 0, fmt.Errorf("signal map %q: %w", part, err)
	}
	if !CanForward(from) {
		return 0, 0, fmt.Errorf("signal map %q: %s is never forwarded", part, Name(from))
	}
	if strings.TrimSpace(right) == "0" {
		return from, 0, nil
	}
	if to, err = Parse(right); err != nil {
		return 0, 0, fmt.Errorf("signal map %q: %w", part, err)
	}
	return from, to, nil
}

// Rewrite returns what the program gets for sig; false means nothing.
func (m Map) Rewrite(sig syscall.Signal) (syscall.Signal, bool) {
	to, ok := m[sig]
	if !ok {
		return sig, true
	}
	return to, to != 0
}
