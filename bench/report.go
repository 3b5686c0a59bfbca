package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// report collects the rows of the table.
type report struct {
	machine string
	rows    []row
}

type row struct {
	figure, ours, theirs, outcome, must string
	holds                               bool
}

// add prints a row and keeps it.
func (r *report) add(figure, ours, theirs, outcome, must string, holds bool) {
	word := "ok"
	if !holds {
		word = "NOT KEPT"
	}
	fmt.Printf("%-9s %s\n          envexec: %s; %s; %s (must be: %s)\n", word, figure, ours, theirs, outcome, must)
	r.rows = append(r.rows, row{figure, ours, theirs, outcome, must, holds})
}

func (r *report) broken() int {
	n := 0
	for _, row := range r.rows {
		if !row.holds {
			n++
		}
	}
	return n
}

const preface = `# Benchmarks

Written by ` + "`make bench`" + `. Everything is measured in one run, taking turns, against one real Vault on loopback. Times are medians;
ratios are medians of the ratios of neighbouring runs, and they are what matters: the milliseconds belong to the machine.
Vault's audit device is on for the rows that count requests and off for the rows that measure time, where its file would
cost the server more than the reads. The programs are ` + "`bin/envexec -config=F`" + `, ` + "`vault agent -config=F`" + ` with the same file, and
` + "`bench/baseline`" + `, a few lines that log in, read and exec with vault/api. The program they start notes the time as its
first act.

`

func (r *report) write(path string) error {
	var text strings.Builder
	text.WriteString(preface + r.machine + "\n\n")
	text.WriteString("| Figure | envexec | compared with | so | must be | kept |\n|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		kept := "yes"
		if !row.holds {
			kept = "**no**"
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s |\n", row.figure, row.ours, row.theirs, row.outcome, row.must, kept)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// machine says when and on what the figures were taken.
func machine(t vaulttest.T, b *bench) string {
	health, err := b.vault.Client(t).Sys().Health()
	if err != nil {
		t.Fatalf("ask Vault's health: %v", err)
	}
	version, err := exec.Command(b.envexec, "version").Output()
	if err != nil {
		t.Fatalf("ask envexec's version: %v", err)
	}
	return fmt.Sprintf("Taken %s with %s against Vault %s on %d cores (%s), %s/%s%s.",
		time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(version)), health.Version,
		runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, load())
}

// processor is the model's name where the system tells it (Linux).
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown model"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown model"
}

// load tells how busy the machine was before the first measurement: a busy one
// makes the waiting of others look short and our work look long.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	average, _, _ := strings.Cut(string(text), " ")
	return ", load " + average
}
