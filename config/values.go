package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads a Go duration (1m30s), whole days (2d) or a bare number of
// seconds; empty is 0.
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err == nil {
			return scaled(n, 24*time.Hour)
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return scaled(n, time.Second)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: use 90s, 1m30s, 2d or a number of seconds", s)
	}
	return d, nil
}

func scaled(n int64, unit time.Duration) (time.Duration, error) {
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, errors.New("duration is too long")
	}
	return time.Duration(n) * unit, nil
}

// parseBool reads what Vault's weakly typed booleans accept; empty is false.
func parseBool(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

// parseSize reads bytes, also with a suffix k, m or g (powers of 1024).
func parseSize(s string) (int64, error) {
	shift := 0
	low := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "b"), "i")
	for i, unit := range []string{"k", "m", "g"} {
		if cut, ok := strings.CutSuffix(low, unit); ok {
			low, shift = cut, 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(low, 10, 64)
	if err != nil || n > math.MaxInt64>>shift || n < 0 {
		return 0, fmt.Errorf("%q is no size: use bytes, or 64k, 8m, 1g", s)
	}
	return n << shift, nil
}

// parseMode reads an octal file mode of at most 12 bits.
func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fmt.Errorf("%q is no octal file mode such as 0640", s)
	}
	return uint32(n), nil
}

// assign converts text to the type behind to and stores it there.
func assign(to any, text string) error {
	var err error
	switch p := to.(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = parseBool(text)
	case *Choice:
		var b bool
		if b, err = parseBool(text); err == nil {
			*p = choice(b)
		}
	case *int:
		var n int64
		if n, err = strconv.ParseInt(strings.TrimSpace(text), 0, 64); err != nil || int64(int(n)) != n {
			return fmt.Errorf("%q is no whole number", text)
		}
		*p = int(n)
	case *int64:
		*p, err = parseSize(text)
	case *float64:
		if *p, err = strconv.ParseFloat(text, 64); err != nil || math.IsNaN(*p) || math.IsInf(*p, 0) {
			return fmt.Errorf("%q is no number", text)
		}
	case *time.Duration:
		*p, err = parseDuration(text)
	case *uint32:
		*p, err = parseMode(text)
	case *[]string:
		*p = splitList(text)
	case *map[string]string:
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is not NAME=VALUE", text)
		}
		if *p == nil {
			*p = map[string]string{}
		}
		(*p)[name] = value
	default:
		err = fmt.Errorf("no way to read a %T", to)
	}
	return err
}

func choice(b bool) Choice {
	if b {
		return Yes
	}
	return No
}

// splitList cuts a list given in one string: at line ends, else at commas.
func splitList(s string) []string {
	sep := ","
	if strings.Contains(s, "\n") {
		sep = "\n"
	}
	var list []string
	for part := range strings.SplitSeq(s, sep) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// format is assign's inverse, for --explain and the reference page.
func format(from any) string {
	switch p := from.(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *Choice:
		return [...]string{"", "false", "true"}[*p]
	case *int:
		return strconv.Itoa(*p)
	case *int64:
		return strconv.FormatInt(*p, 10)
	case *float64:
		return strconv.FormatFloat(*p, 'g', -1, 64)
	case *time.Duration:
		return formatDuration(*p)
	case *uint32:
		if *p == 0 {
			return ""
		}
		return fmt.Sprintf("%04o", *p)
	case *[]string:
		return strings.Join(*p, ",")
	case *map[string]string:
		var names []string
		for name := range *p { // values may be credentials
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, ",")
	default:
		return ""
	}
}

// formatDuration leaves out the zero units Go prints: 5m, not 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
