package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// bound says what a ratio must be.
type bound int

const (
	noLimit bound = iota
	atLeast
	atMost
	impossible // at least, but Vault itself is below
)

// table collects the rows.
type table struct{ rows []string }

func (t *table) row(figure string, ours, other float64, unit, than string, b bound, limit float64) {
	ratio := ours / other
	must, kept := "–", ""
	switch b {
	case atLeast:
		must, kept = fmt.Sprintf("≥ %g", limit), keeps(ratio >= limit)
	case impossible:
		must, kept = fmt.Sprintf("≥ %g", limit), "Vault itself is below"
	case atMost:
		must, kept = fmt.Sprintf("≤ %g", limit), keeps(ratio <= limit)
	}
	line := fmt.Sprintf("| %s | %.0f %s | %s: %.0f %s | %.2f | %s | %s |", figure, ours, unit, than, other, unit, ratio, must, kept)
	fmt.Fprintln(os.Stderr, line)
	t.rows = append(t.rows, line)
}

func keeps(kept bool) string {
	if kept {
		return "yes"
	}
	return "**no**"
}

func (t *table) write(o options) error {
	vault, _ := exec.Command(o.vault, "version").Output()
	ours, _ := exec.Command(o.envexec, "version").Output()
	text := fmt.Sprintf(`# Benchmarks of the listener

Written by `+"`make bench-proxy`"+`: wrk with 16 connections (256 where it says so), everything in one run on one machine, taking
turns, medians of %d measurements of %s each. `+"`envexec proxy`"+` and `+"`vault proxy`"+` read the same configuration file, but for the port,
and write their logs, at the level they have without being asked, to a file. The ratios are what matters.

What a pass-through costs is measured in three places, each with the same limit. **The one that answers "how much more does
it carry?" is the proxy with a sidecar's quota**: before a real Vault, each proxy gets 250m of processor time by a control group, what
Vault's Kubernetes injector requests for its agent, and Vault and wrk all they want. As long as the row "straight to Vault" is well
above, the proxy is what is measured. On one core of its own before a stand-in the proxy is measured without Vault. Without
a quota, Vault, the proxy and wrk share %d cores: there Vault works on every request, no proxy can be faster than "straight to Vault",
and what is measured is mostly Vault: a limit not kept there says little about the proxy.

A first read is of a secret the proxy has not read yet; both have `+"`cache_static_secrets = true`"+`, as for the cached reads they are compared
with, and keep what they read.

Taken %s with %s against %s on %d cores.

| Figure | envexec | compared with | ratio | must be | kept |
|---|---|---|---|---|---|
%s
`, o.rounds, o.duration, runtime.NumCPU(), time.Now().Format(time.DateOnly), firstLine(ours), firstLine(vault), runtime.NumCPU(), strings.Join(t.rows, "\n"))
	if o.out == "" {
		_, err := fmt.Print(text)
		return err
	}
	return os.WriteFile(o.out, []byte(text), 0o644) //nolint:gosec // a page of the documentation
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
