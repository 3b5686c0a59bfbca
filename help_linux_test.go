package main

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The short help is one screen; colour and width are a terminal's, a pipe gets plain text.
func TestHelp(t *testing.T) {
	onTerminal := func(columns uint16, env []string, args ...string) string {
		master, slave := terminal(t)
		if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: columns}); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "envexec", args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.Env = append([]string{"TERM=xterm", "GORACE=atexit_sleep_ms=0"}, env...)
		said := shown(master)
		if err := cmd.Run(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		_ = slave.Close()
		return strings.ReplaceAll(<-said, "\r", "")
	}
	inPipe := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "envexec", args...)
		cmd.Env = []string{"TERM=xterm", "GORACE=atexit_sleep_ms=0"}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return string(out)
	}
	wide := func(text string, columns int) {
		t.Helper()
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > columns {
				t.Errorf("wider than %d: %q", columns, line)
			}
		}
	}
	short := onTerminal(80, []string{"NO_COLOR=1"}, "--help")
	wide(short, 80)
	if lines := strings.Count(short, "\n"); lines > 48 || strings.Contains(short, "\x1b") || !strings.Contains(short, "--help all") {
		t.Errorf("%d lines\n%s", lines, short)
	}
	all := onTerminal(70, nil, "--help", "all")
	plain := strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(all)
	if !strings.Contains(all, "\x1b[1mLogin:\x1b[0m") || !strings.Contains(all, "--set ") || !strings.Contains(all, "--ca-cert-bytes") {
		t.Error(all)
	}
	wide(plain, 70)
	if text := onTerminal(80, []string{"TERM=dumb"}, "--help"); strings.Contains(text, "\x1b") {
		t.Error(text)
	}
	if piped := inPipe("--help", "all"); strings.Contains(piped, "\x1b") || strings.Join(strings.Fields(piped), " ") != strings.Join(strings.Fields(plain), " ") ||
		!strings.Contains(piped, "any key of the configuration reference over the files, by its dotted name or as a stanza\n") {
		t.Error(piped)
	}
	for args, want := range map[string]string{"check --help": "--offline", "render -h": "--show-values", "init --help": "--yes", "status --help": "--pid", "reload --help": "--admin", "service --help": "--account"} {
		if text := inPipe(strings.Fields(args)...); !strings.Contains(text, want) || strings.Contains(text, "--on-change") {
			t.Errorf("%s: %s", args, text)
		}
	}
}
