package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

const (
	quickRuns = 61 // of what takes milliseconds
	slowRuns  = 5  // of what takes seconds
	idleAfter = 10 * time.Second
)

// startup: exec of the wrapper to the program's first instruction, one secret.
func (b *bench) startup(t vaulttest.T, r *report) {
	fmt.Printf("measuring: start with one secret, %d times\n", quickRuns)
	var ours, agents, byHand []time.Duration
	for i := range quickRuns {
		ours = append(ours, b.run(t, b.with(b.envexec, b.one), 1).start)
		byHand = append(byHand, b.run(t, b.byHand(), 1).start)
		if i < slowRuns {
			agents = append(agents, b.run(t, b.withAgent(b.one), 1).start)
		}
	}
	e, a, h := median(ours), median(agents), median(byHand)
	faster, slower := medianRatio(agents, ours), medianRatio(ours, byHand)
	r.add("exec of the wrapper to the program's first instruction, one secret, AppRole", ms(e), "vault agent: "+ms(a),
		fmt.Sprintf("%.0f times faster", faster), "at least 80 times faster", faster >= 80)
	r.add("the same", ms(e), "by hand with vault/api: "+ms(h),
		fmt.Sprintf("%.2f times", slower), "at most 1.5 times", slower <= 1.5)
}

// countRequests: what Vault was asked for that start.
func (b *bench) countRequests(t vaulttest.T, r *report) {
	b.vault.Auditing(t, true)
	defer b.vault.Auditing(t, false)
	mark := b.vault.Mark(t)
	b.run(t, b.with(b.envexec, b.one), 1)
	ours := b.requests(t, mark)
	mark = b.vault.Mark(t)
	b.run(t, b.withAgent(b.one), 1)
	agents := b.requests(t, mark)
	r.add("requests to Vault for that start (audit log)", fmt.Sprint(len(ours)),
		fmt.Sprintf("vault agent: %d", len(agents)), strings.Join(ours, ", "), "2", len(ours) == 2)
}

// manySecrets: 1,000 variables from 1,000 secrets; processor time until the end.
func (b *bench) manySecrets(t vaulttest.T, r *report) {
	fmt.Printf("measuring: start with 1,000 secrets, %d times\n", slowRuns)
	var ours, agents, ourCPU, agentCPU []time.Duration
	for range slowRuns {
		e := b.run(t, b.with(b.envexec, b.thousand), many)
		a := b.run(t, b.withAgent(b.thousand), many)
		ours, agents = append(ours, e.start), append(agents, a.start)
		ourCPU, agentCPU = append(ourCPU, e.cpu), append(agentCPU, a.cpu)
	}
	e, a, times := median(ours), median(agents), medianRatio(agents, ours)
	r.add("1,000 variables from 1,000 secrets, time to the first instruction", ms(e), "vault agent: "+ms(a),
		fmt.Sprintf("%.1f times faster", times), "at least 8 times faster", times >= 8)
	e, a, times = median(ourCPU), median(agentCPU), medianRatio(ourCPU, agentCPU)
	r.add("the same, processor time", ms(e), "vault agent: "+ms(a),
		fmt.Sprintf("%.2f times", times), "at most 0.5 times", times <= 0.5)
}

// oneSecret: 1,000 variables from one secret are one read.
func (b *bench) oneSecret(t vaulttest.T, r *report) {
	b.vault.Auditing(t, true)
	defer b.vault.Auditing(t, false)
	mark := b.vault.Mark(t)
	e := b.run(t, b.with(b.envexec, b.thousandOfOne), many)
	reads := b.reads(t, mark, "secret/data/wide")
	mark = b.vault.Mark(t)
	a := b.run(t, b.withAgent(b.thousandOfOne), many)
	agentReads := b.reads(t, mark, "secret/data/wide")
	r.add("1,000 variables from one secret, reads", fmt.Sprint(reads),
		fmt.Sprintf("vault agent: %d (%s)", agentReads, ms(a.start)), "in "+ms(e.start), "1", reads == 1)
}

// idle: resident memory of the wrapper with a program that does nothing.
func (b *bench) idle(t vaulttest.T, r *report) {
	ours, ok := b.resident(t, b.with(b.envexec, b.stay))
	if !ok {
		fmt.Println("idle resident memory: cannot be read on this system")
		return
	}
	agents, _ := b.resident(t, b.withAgent(b.stay))
	r.add("idle resident memory, one secret", mb(ours), "vault agent: "+mb(agents),
		fmt.Sprintf("%.0f times less", float64(agents)/float64(ours)), "at most 20 MB", ours <= 20e6)
}

func (b *bench) sizes(t vaulttest.T, r *report) {
	ours, vaults := size(t, b.envexec), size(t, b.agent)
	r.add("stripped binary", mb(ours), "vault (this build): "+mb(vaults),
		fmt.Sprintf("%.0f times smaller", float64(vaults)/float64(ours)), "at most 25 MB", ours <= 25e6)
}

func size(t vaulttest.T, path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatalf("measure %s: %v", path, err)
	}
	return info.Size()
}

func median[N cmp.Ordered](all []N) N {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// medianRatio compares runs that were neighbours in time, so that what disturbed
// the machine disturbed both.
func medianRatio(a, b []time.Duration) float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, float64(a[i])/float64(b[i]))
	}
	return median(ratios)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func mb(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
