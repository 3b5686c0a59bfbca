//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report collects the rows of the table.
type report struct {
	machine string
	rows    []row
}

type row struct {
	figure, ours, beside, must string
	holds                      bool
}

// add prints a row and keeps it.
func (r *report) add(figure, ours, beside, must string, holds bool) {
	word := "ok"
	if !holds {
		word = "NOT KEPT"
	}
	fmt.Printf("%-9s %s\n          envexec: %s; beside it: %s (must be: %s)\n", word, figure, ours, beside, must)
	r.rows = append(r.rows, row{figure, ours, beside, must, holds})
}

func (r *report) broken() (n int) {
	for _, row := range r.rows {
		if !row.holds {
			n++
		}
	}
	return n
}

const preface = `# Benchmarks of supervision

Written by ` + "`make bench-supervise`" + `: what envexec is like as the parent of a program, measured from outside on ` + "`bin/envexec`" + `, the
secrets coming from a real Vault on loopback. What is compared took turns in one run.

- **Overlap**: a change as soon as the one before is in use, so the worst there is. The program is [contrib/examples/go-server](../contrib/examples/go-server); beside it the same program without
  ` + "`--listen`" + `, stopped and started anew at each change.
- **Orphans**: a process that reaps as envexec does is process 1 of a namespace; 16 goroutines of it run 150 programs each through
  os/exec, as a library may, while 1,600 orphans end.
- **Restarts**: after 100 restarts and after 1,000. Descriptors, threads and memory are those of ` + "`bin/envexec`" + `, a change of a secret being
  the cause of each restart; goroutines are counted inside a process that runs the supervisor. Up to 64 MB nothing is collected in
  envexec's first five seconds, in which the first restarts fall.
- **Start**: exec of the wrapper to the program's first instruction, no secret named.
- **Signal**: from kill(2) to the program, which does nothing but wait for it (sigwaitinfo in python).

`

func (r *report) write(path string) error {
	var text strings.Builder
	text.WriteString(preface + r.machine + "\n\n")
	text.WriteString("| Figure | envexec | beside it | must be | kept |\n|---|---|---|---|---|\n")
	for _, row := range r.rows {
		kept := "yes"
		if !row.holds {
			kept = "**no**"
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s |\n", row.figure, row.ours, row.beside, row.must, kept)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// machine says when and on what the figures were taken.
func machine(b *bench) string {
	version, _ := exec.Command(b.envexec, "version").Output()
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("Taken %s with %s on %d cores, Linux %s, load %s.", time.Now().UTC().Format(time.DateOnly),
		strings.TrimSpace(string(version)), runtime.NumCPU(), strings.TrimSpace(string(kernel)), average)
}
