//go:build linux

// Command supervise measures what docs/supervision-benchmarks.md promises of envexec
// as a parent process: rotations without a failed request, no status lost while
// orphans are reaped as process 1, restarts that leave nothing behind, and start
// and signals beside tini. It ends with status 1 if a promise is not kept.
//
//	make bench-supervise
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/supervise"
)

func main() {
	out := flag.String("out", "", "write the table to this `file` too")
	only := flag.String("only", "", "measure only `figures` named so: overlap, reap, restarts, start, signal")
	role := flag.String("role", "", "internal: what this process is for another one of it")
	flag.Parse()
	os.Exit(supervise.OnMainThread(func() int { return run(*out, *only, *role) }))
}

func run(out, only, role string) int {
	switch role {
	case "storm":
		return storm()
	case "generations":
		return generations()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r report
	err := vaulttest.RunProgram(ctx, func(t vaulttest.T) { measure(t, &r, only) })
	if err == nil && out != "" {
		err = r.write(out)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench failed: %v\n", err)
		return 1
	}
	if n := r.broken(); n > 0 {
		fmt.Fprintf(os.Stderr, "%d figures are not what they must be\n", n)
		return 1
	}
	return 0
}

// bench is what the measurements share.
type bench struct {
	dir                          string
	self, envexec, server, probe string // binaries
	vault                        *vaulttest.Server
}

func measure(t vaulttest.T, r *report, only string) {
	b := prepare(t)
	r.machine = machine(b)
	for _, figure := range []struct {
		name string
		take func(vaulttest.T, *report)
	}{
		{"start", b.start}, {"signal", b.signals}, {"reap", b.reap}, {"restarts", b.restarts}, {"overlap", b.overlap},
	} {
		if only == "" || slices.Contains(strings.Fields(only), figure.name) {
			fmt.Println("measuring:", figure.name)
			figure.take(t, r)
		}
	}
}

func prepare(t vaulttest.T) *bench {
	root, err := vaulttest.Root()
	if err != nil {
		t.Fatalf("%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := &bench{dir: t.TempDir(), self: self, envexec: filepath.Join(root, "bin", "envexec"), vault: vaulttest.Start(t)}
	b.server = build(t, root, "./contrib/examples/go-server", filepath.Join(b.dir, "go-server"))
	b.probe = build(t, root, "./bench/probe", filepath.Join(b.dir, "probe"))
	return b
}

func build(t vaulttest.T, root, pkg, out string) string {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}
