//go:build unix

package config

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// hostile are inputs of about n parts, each a way to make a careless reader slow.
var hostile = map[string]func(n int) string{
	"nested blocks":     func(n int) string { return strings.Repeat("a {", n) + strings.Repeat("}", n) },
	"nested lists":      func(n int) string { return "a = " + strings.Repeat("[", n) + strings.Repeat("]", n) },
	"nested json":       func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) },
	"nested json lists": func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" },
	"json of objects":   func(n int) string { return `{"vault":{` + strings.TrimSuffix(numbered(n, `"a%d":{},`), ",") + "}}" },
	"nested known json": func(n int) string {
		return `{"auto_auth":{"method":{"approle":` + strings.Repeat(`{"config":`, n) + "1" + strings.Repeat("}", n) + "}}}"
	},
	"labels":  func(n int) string { return "template " + strings.Repeat(`"a" `, n) + "{ }" },
	"heredoc": func(n int) string { return "template {\n contents = <<E\n" + strings.Repeat("line\n", n) + "E\n}\n" },
	"indented heredoc": func(n int) string {
		return "template {\n contents = <<-E\n" + strings.Repeat("   line\n", n) + "  E\n}\n"
	},
	"open heredocs": func(n int) string { return strings.Repeat("a = <<E\n", n) },
	"long string":   func(n int) string { return `pid_file = "` + strings.Repeat(`\n`, n) + `"` },
	"interpolation": func(n int) string { return `pid_file = "` + strings.Repeat(`${`, n) + strings.Repeat(`}`, n) + `"` },
	"unknown keys":  func(n int) string { return numbered(n, "no_such_key_%d = 1\n") },
	"nearly known keys": func(n int) string {
		return "template_config {\n" + numbered(n, "static_secret_render_interva%d = 1\n") + "}"
	},
	"unknown method keys": func(n int) string {
		return "auto_auth { method \"approle\" { config {\n" + numbered(n, "k%d = 1\n") + "} } }"
	},
	"equal keys":          func(n int) string { return strings.Repeat("pid_file = \"a\"\n", n) },
	"equal blocks":        func(n int) string { return strings.Repeat("vault { }\n", n) },
	"equal labels":        func(n int) string { return strings.Repeat("env_template \"A\" { contents = \"c\" }\n", n) },
	"equal json keys":     func(n int) string { return "{" + strings.Repeat(`"vault":{},`, n) + `"vault":{}}` },
	"list of wrong words": func(n int) string { return "disable_idle_connections = [" + numbered(n, `"a%d", `) + "]" },
	"list of lists":       func(n int) string { return "exec { command = [" + strings.Repeat(`[], `, n) + "] }" },
	"headers":             func(n int) string { return "vault { headers = {\n" + numbered(n, "X%d = \"1\"\n") + "} }" },
	"sinks": func(n int) string {
		return "auto_auth {\n" + numbered(n, "sink \"file\" { config { path = \"%d\" } }\n") + "}"
	},
	"listeners":         func(n int) string { return numbered(n, "listener \"tcp\" { address = \"127.0.0.1:%d\" }\n") },
	"comments":          func(n int) string { return strings.Repeat("# comment\n/* and */ // more\n", n) },
	"spaces":            func(n int) string { return strings.Repeat(" ", 10*n) + "{" + strings.Repeat(" ", 10*n) },
	"syntax error":      func(n int) string { return strings.Repeat("a = 1\n", n) + "=" },
	"json syntax error": func(n int) string { return "{" + strings.Repeat("\"a\": 1,\n", n) + "=" },
	"change rules": func(n int) string {
		return numbered(n, "env \"A%d\" {\n secret = \"kv/a#b\"\n on_change { policy = \"hook\" }\n}\n")
	},
}

// Eight times the input takes about eight times the processor time, never 64 times.
func TestLinearTime(t *testing.T) {
	took := func(src string) (least time.Duration) {
		for range 2 {
			before := processorTime(t)
			_, _ = lenient([]byte(src))
			if d := processorTime(t) - before; least == 0 || d < least {
				least = d
			}
		}
		return least
	}
	for name, src := range hostile {
		small, big := took(src(1_000)), took(src(8_000))
		if big > 24*small+20*time.Millisecond {
			t.Errorf("%s: %s, of eight times the size %s", name, small, big)
		}
	}
}

// processorTime is what this process has used: what else the machine does is not in it.
func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
