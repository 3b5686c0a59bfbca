//go:build linux && integration

package conformance

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func init() {
	peers = []parent{
		{"tini", func(_, args []string) []string { return append([]string{"tini", "-s", "--"}, args...) }},
		{"dumb-init", func(_, args []string) []string { return append([]string{"dumb-init", "--"}, args...) }},
	}
}

// explained are the deviations that docs/conformance.md gives reasons for: case and parent to what is seen there.
var explained = map[string]string{
	"death by TERM/tini":         "status 143",
	"death by TERM/dumb-init":    "status 143",
	"missing command/none":       "cannot start",
	"missing command/dumb-init":  "status 2",
	"session/none":               "session of parent, group of parent",
	"session/dumb-init":          "own session, own group",
	"leftover in the group/none": "alive",
	"leftover in the group/tini": "alive",
	"ignored PIPE/none":          "ignored",
	"ignored PIPE/tini":          "ignored",
}

// TestX6 runs the same programs under no wrapper, tini, dumb-init and envexec; what differs must be explained.
func TestX6(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, under parent) string{
		"status 7": func(t *testing.T, under parent) string {
			return start(t, command{under: under, args: program("exit=7")}).wait().String()
		},
		"death by TERM": func(t *testing.T, under parent) string {
			return start(t, command{under: under, args: program("die=TERM")}).wait().String()
		},
		"missing command": func(t *testing.T, under parent) string {
			if under.name == "none" {
				return "cannot start"
			}
			return start(t, command{under: under, args: []string{"/nonexistent"}}).wait().String()
		},
		"every signal once": func(t *testing.T, under parent) string {
			p := start(t, command{under: under, args: program(trapAll...)})
			p.line("ready")
			for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGWINCH} {
				p.signal(sig)
				p.line("signal " + name(sig))
			}
			return strings.Join(signalLines(p), " ")
		},
		"session": func(t *testing.T, under parent) string {
			p := start(t, command{under: under, args: program("dump", "wait")})
			r, text := p.dump(), [2]string{"session of parent", "group of parent"}
			if r.Sid == r.Pid {
				text[0] = "own session"
			}
			if r.Pgid == r.Pid {
				text[1] = "own group"
			}
			return strings.Join(text[:], ", ")
		},
		"leftover in the group": func(t *testing.T, under parent) string {
			p := start(t, command{under: under, args: program("spawn=same", "{", "say=left", "wait", "}", "waitfile="+gate(t), "exit=0")})
			p.line("left")
			open(t)
			p.wait()
			if len(p.survivors()) > 0 {
				return "alive"
			}
			return "ended"
		},
		"ignored PIPE": func(t *testing.T, under parent) string {
			p := start(t, command{under: under, before: program("mask=PIPE:", "exec"), args: []string{"/bin/cat", "/proc/self/status"}})
			p.wait()
			<-p.out.finished
			if fieldOf(t, p.out.all(), "SigIgn")&(1<<(syscall.SIGPIPE-1)) != 0 {
				return "ignored"
			}
			return "default"
		},
		"standard input": func(t *testing.T, under parent) string {
			p := start(t, command{under: under, args: program("lines"), stdin: nil})
			return fmt.Sprint(p.wait(), p.out.count("eof"))
		},
	}
	for what, observe := range cases {
		t.Run(what, func(t *testing.T) {
			want := observe(t, envexec)
			for _, peer := range append([]parent{none}, peers...) {
				if peer.name != "none" {
					_, err := exec.LookPath(peer.name)
					require(t, peer.name, err)
				}
				got := observe(t, peer)
				reason, known := explained[what+"/"+peer.name]
				if got != want && (!known || got != reason) {
					t.Errorf("%s: %q, envexec: %q: not in the table of deviations", peer.name, got, want)
				}
				if known && got == want {
					t.Errorf("%s: the deviation %q is no longer there", peer.name, reason)
				}
			}
		})
	}
}
