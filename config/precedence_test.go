package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/environ"
)

// threeValues are different valid texts for an option, for file, variable and flag.
func threeValues(o option) [3]string {
	switch o.name {
	case "address":
		return [3]string{"http://a:1", "http://b:1", "http://c:1"}
	case "auth":
		return [3]string{"cert", "kubernetes", "jwt"}
	case "log-level":
		return [3]string{"debug", "warn", "error"}
	case "stop-signal", "refresh-signal", "reload-signal":
		return [3]string{"USR1", "USR2", "HUP"}
	case "rate-limit":
		return [3]string{"1", "2", "3"}
	case "change-window":
		return [3]string{"01:00-02:00", "02:00-03:00", "03:00-04:00"}
	case "restart":
		return [3]string{"always", "on-failure", "on-abnormal"}
	case "on-conflict":
		return [3]string{"keep", "error", "override"}
	case "log-format":
		return [3]string{"json", "text", "json"}
	case "change-limit", "restart-limit", "log-rotate-max-files", "max-retries", "max-concurrent":
		return [3]string{"3", "4", "6"}
	case "signal-map":
		return [3]string{"HUP=USR1", "USR1=USR2", "TERM=INT"}
	case "map-exit":
		return [3]string{"1=2", "3=4", "5=6"}
	case "admin", "pid-file":
		return [3]string{"/a", "/b", "/c"}
	}
	switch o.to.(type) {
	case *bool, *Choice:
		return [3]string{"true", "false", "true"}
	case *time.Duration:
		return [3]string{"11s", "12s", "13s"}
	case *int, *int64:
		return [3]string{"11", "12", "13"}
	case *float64:
		return [3]string{"0.5", "0.6", "0.7"}
	case *map[string]string:
		return [3]string{"A=1", "B=1", "C=1"}
	}
	return [3]string{"aa", "bb", "cc"}
}

// flag > environment > file > default, for every option there is and every key that an
// option can set; the effective value's origin says which it was. The table is the code's.
func TestPrecedence(t *testing.T) {
	tested := 0
	c := defaults()
	for _, o := range options(c, &loginFlags{}) {
		if o.to == nil || o.noEnv || strings.HasPrefix(o.name, "config") || o.name == "env-file" {
			continue
		}
		path := ""
		walkKeys(root(c), "", func(at string, k key) {
			if k.to == o.to && path == "" {
				path = at
			}
		})
		values := threeValues(o)
		t.Run(o.name, func(t *testing.T) {
			file, variable, flag := "", "", ""
			expect := func(origin string) {
				t.Helper()
				args := []string{"check"}
				for _, other := range []string{"offline", "lenient"} {
					if other != o.name {
						args = append(args, "--"+other)
					}
				}
				if file != "" {
					name := filepath.Join(t.TempDir(), "x.hcl")
					if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
						t.Fatal(err)
					}
					args = append(args, "--config", name)
				}
				if flag != "" {
					args = append(args, flag)
				}
				got, err := Parse(append(args, "--", "app"), environ.From(strings.Fields(variable)))
				if err != nil {
					t.Fatalf("%v %s %s", err, args, variable)
				}
				for _, s := range got.Settings {
					if s.Flag == "--"+o.name {
						if !strings.Contains(s.Origin, origin) {
							t.Errorf("origin %q, want %q (value %q) with %s %s\n%s", s.Origin, origin, s.Value, args, variable, file)
						}
						return
					}
				}
				t.Errorf("--explain does not show --%s", o.name)
			}
			expect("default")
			if path != "" {
				file = inFile(path, values[0], o)
				expect("x.hcl:")
			}
			for _, name := range variables(o) {
				variable = name + "=" + values[1]
				expect(name)
			}
			flag = "--" + o.name + "=" + values[2]
			expect("--" + o.name)
		})
		tested++
	}
	if tested < 70 {
		t.Errorf("only %d options", tested)
	}
}

// inFile writes a dotted key as nested stanzas.
func inFile(path, value string, o option) string {
	parts := strings.Split(path, ".")
	text := fmt.Sprintf("%q", value)
	switch o.to.(type) {
	case *bool, *Choice, *float64:
		text = value
	case *[]string:
		text = "[" + text + "]"
	case *map[string]string:
		name, v, _ := strings.Cut(value, "=")
		text = fmt.Sprintf("{ %s = %q }", name, v)
	}
	text = parts[len(parts)-1] + " = " + text
	for i := len(parts) - 2; i >= 0; i-- {
		text = parts[i] + " {\n" + text + "\n}"
	}
	return text + "\n"
}
