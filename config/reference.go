package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/envexec/envexec/environ"
)

// unescape is what a backslash does in a KEY; in a PATH the renderer does it.
var unescape = strings.NewReplacer(`\\`, `\`, `\#`, "#", `\?`, "?", `\{`, "{", `\}`, "}", `\$`, "$")

// reference is PATH#KEY[#VERSION] taken apart.
type reference struct {
	path, key string
	version   int
}

// parseReference reads PATH#KEY[#VERSION]; a leading vault: is left out.
func parseReference(text string) (reference, error) {
	rest := strings.TrimPrefix(text, "vault:")
	parts := atHashes(rest)
	r := reference{path: strings.Trim(parts[0], "/")}
	switch {
	case r.path == "":
		return r, fmt.Errorf("%q names no path: write PATH#KEY", text)
	case len(parts) < 2 || parts[1] == "":
		return r, errors.New("no key after the path: write PATH#KEY") // text may be the secret itself
	case len(parts) > 3:
		return r, fmt.Errorf("%q has more than PATH#KEY#VERSION", text)
	}
	r.key = unescape.Replace(parts[1])
	if len(parts) == 3 {
		var err error
		if r.version, err = parseVersion(parts[2]); err != nil {
			return r, err
		}
	}
	return r, nil
}

// atHashes splits at each # that no backslash makes plain.
func atHashes(s string) (parts []string) {
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '#':
			parts, from = append(parts, s[from:i]), i+1
		}
	}
	return append(parts, s[from:])
}

func parseVersion(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "v"))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("version %q is not a number from 1", s)
	}
	return n, nil
}

// parseVariable reads NAME=PATH#KEY[#VERSION], or NAME=text with ${vault:…} in it.
func parseVariable(text string) (Variable, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || value == "" {
		return Variable{}, fmt.Errorf("%q is not NAME=PATH#KEY", text)
	}
	v := Variable{Name: name, Delivery: "value"}
	return v, v.refer(value)
}

func (v *Variable) refer(value string) error {
	if strings.ContainsAny(v.Name, "=\x00") {
		return fmt.Errorf("%q is no variable name", v.Name)
	}
	if !environ.Valid(v.Name) {
		return fmt.Errorf("%q is no variable name: use letters, digits and _", v.Name)
	}
	v.Reference = strings.TrimPrefix(value, "vault:")
	if strings.Contains(value, "${vault:") {
		return nil
	}
	r, err := parseReference(value)
	v.Path, v.Key, v.Version = r.path, r.key, r.version
	if err != nil {
		return fmt.Errorf("variable %s: %w", v.Name, err)
	}
	return nil
}

// parseFrom reads PATH[#VERSION].
func parseFrom(text string) (From, error) {
	path, version, has := strings.Cut(strings.TrimPrefix(text, "vault:"), "#")
	f := From{Path: strings.Trim(path, "/"), Delivery: "value"}
	if f.Path == "" {
		return f, errors.New("names no path")
	}
	var err error
	if has {
		f.Version, err = parseVersion(version)
	}
	return f, err
}

// parseFile reads DESTINATION=PATH#KEY[#VERSION] or DESTINATION=TEMPLATE.
func parseFileFlag(text string) (RenderFile, error) {
	dest, what, ok := strings.Cut(text, "=")
	f := RenderFile{Destination: dest, Mode: 0o600}
	if !ok || dest == "" || what == "" {
		return f, fmt.Errorf("%q is not FILE=PATH#KEY or FILE=TEMPLATE", text)
	}
	return f, f.refer(what)
}

func (f *RenderFile) refer(what string) error {
	if !strings.Contains(what, "#") {
		f.Source = what
		return nil
	}
	r, err := parseReference(what)
	f.Reference, f.Path, f.Key, f.Version = strings.TrimPrefix(what, "vault:"), r.path, r.key, r.version
	return err
}
