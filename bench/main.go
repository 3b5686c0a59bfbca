// Command bench measures what docs/benchmarks.md promises: envexec against vault
// agent with the same configuration, and against a few lines that do the same by
// hand (bench/baseline), in one run, taking turns, on one real Vault. The figures
// are medians, and what is promised are mostly ratios, because machines differ.
// It ends with status 1 if a promise is not kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/envexec/envexec/internal/vaulttest"
)

func main() {
	out := flag.String("out", "", "write the table to this `file` too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var report report
	err := vaulttest.RunProgram(ctx, func(t vaulttest.T) { measure(t, &report) })
	if err == nil && *out != "" {
		err = report.write(*out)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench failed: %v\n", err)
		os.Exit(1)
	}
	if n := report.broken(); n > 0 {
		fmt.Fprintf(os.Stderr, "%d figures are not what they must be\n", n)
		os.Exit(1)
	}
}

func measure(t vaulttest.T, r *report) {
	b := prepare(t)
	r.machine = machine(t, b)
	b.startup(t, r)
	b.countRequests(t, r)
	b.manySecrets(t, r)
	b.oneSecret(t, r)
	b.idle(t, r)
	b.sizes(t, r)
}

// bench is what the measurements share.
type bench struct {
	vault                              *vaulttest.Server
	role                               vaulttest.Role
	dir                                string
	envexec, agent, baseline, probe    string // binaries
	one, thousand, thousandOfOne, stay string // configurations
}

const (
	many   = 1000
	policy = `path "secret/data/*" { capabilities = ["read"] }`
)

func prepare(t vaulttest.T) *bench {
	root, err := vaulttest.Root()
	if err != nil {
		t.Fatalf("%v", err)
	}
	agent, err := vaulttest.Binary()
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := &bench{dir: t.TempDir(), envexec: filepath.Join(root, "bin", "envexec"), agent: agent, vault: vaulttest.Start(t)}
	b.baseline = build(t, root, "./bench/baseline", filepath.Join(b.dir, "baseline"))
	b.probe = build(t, root, "./bench/probe", filepath.Join(b.dir, "probe"))

	b.vault.Policy(t, "bench", policy)
	b.role = b.vault.AppRole(t, map[string]any{"token_ttl": "1h"}, "bench")
	b.vault.PutKV2(t, "secret/app", map[string]any{"password": "one"})
	wide := map[string]any{}
	for i := range many {
		wide[fmt.Sprintf("k%d", i)] = fmt.Sprintf("value %d", i)
		b.vault.PutKV2(t, fmt.Sprintf("secret/many/%d", i), map[string]any{"password": fmt.Sprintf("value %d", i)})
	}
	b.vault.PutKV2(t, "secret/wide", wide)

	single := []variable{{"PASSWORD", "secret/data/app", "password"}}
	var each, same []variable
	for i := range many {
		name := fmt.Sprintf("PASSWORD_%d", i)
		each = append(each, variable{name, fmt.Sprintf("secret/data/many/%d", i), "password"})
		same = append(same, variable{name, "secret/data/wide", fmt.Sprintf("k%d", i)})
	}
	b.one = b.configuration(t, "one", single, b.probe, b.stamp())
	b.stay = b.configuration(t, "stay", single, b.probe, b.stamp(), "1h")
	b.thousand = b.configuration(t, "thousand", each, b.probe, b.stamp())
	b.thousandOfOne = b.configuration(t, "same", same, b.probe, b.stamp())
	b.vault.Auditing(t, false)
	return b
}
