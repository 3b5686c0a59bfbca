// Command store measures what docs/secrets.md promises of the lease store: how its cost
// grows with the number of secrets, how fast a change reaches the program, and how fast
// it starts from the sealed cache. Where only envexec's own work counts, a server of
// this process answers as Vault would, at once; the rest runs against a real Vault.
//
//	make bench-store
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

func main() {
	page := flag.String("page", "", "put the table between the marks of this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{}
	err := vaulttest.RunProgram(ctx, b.measure)
	if err == nil && *page != "" {
		err = b.write(*page)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench failed: %v\n", err)
		os.Exit(1)
	}
	for _, r := range b.rows {
		if !r.kept {
			os.Exit(1)
		}
	}
}

type bench struct {
	root, dir, envexec, probe string
	rows                      []row
}

type row struct {
	figure, got, must string
	kept              bool
}

func (b *bench) add(figure, got, must string, kept bool) {
	fmt.Printf("%s: %s (must be: %s) %v\n", figure, got, must, kept)
	b.rows = append(b.rows, row{figure, got, must, kept})
}

func (b *bench) measure(t vaulttest.T) {
	var err error
	if b.root, err = vaulttest.Root(); err != nil {
		t.Fatalf("%v", err)
	}
	b.dir = t.TempDir()
	b.envexec, b.probe = filepath.Join(b.root, "bin", "envexec"), filepath.Join(b.dir, "probe")
	build := exec.Command("go", "build", "-o", b.probe, "./bench/probe")
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	b.linear(t)
	b.oneChange(t)
	b.latency(t)
	b.hour(t)
	b.sealed(t)
	b.memory(t)
}

// linear: the first read of many secrets.
func (b *bench) linear(t vaulttest.T) {
	v := serve(t)
	took := map[int]time.Duration{}
	for _, n := range []int{1000, 10000} {
		var all []time.Duration
		for range 5 {
			all = append(all, b.start(t, v.address, b.many(t, n, "")))
		}
		took[n] = median(all)
	}
	ratio := float64(took[10000]) / float64(took[1000])
	b.add("time to the program with 1,000 and with 10,000 distinct secrets, Vault answering at once",
		fmt.Sprintf("%s and %s: %.1f times", ms(took[1000]), ms(took[10000]), ratio), "linear: at most 12 times", ratio <= 12)
}

const changes = 20

// oneChange: one of n secrets changes again and again.
func (b *bench) oneChange(t vaulttest.T) {
	cost := map[int]time.Duration{}
	reads := map[int]int64{}
	for _, n := range []int{10, 10000} {
		v := serve(t)
		// The program is signalled, so that the cost of starting it with n variables is left out.
		config := b.many(t, n, "template_config {\n  static_secret_render_interval = \"1h\"\n}\nchange {\n  policy = \"signal\"\n  signal = \"USR1\"\n  quiet = \"0s\"\n}\n")
		signalled := filepath.Join(b.dir, "signalled")
		_ = os.Remove(signalled)
		cmd := exec.Command(b.envexec, "--config="+config, "--refresh", "secret/data/s5=100ms", "--log-level=warn", "--",
			"sh", "-c", `n=0; trap 'n=$((n+1)); echo $n >"$0.new"; mv "$0.new" "$0"' USR1; echo 0 >"$0"; while :; do sleep 0.01; done`, signalled)
		cmd.Env = append(os.Environ(), "VAULT_ADDR="+v.address, "VAULT_TOKEN=t")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v", err)
		}
		await(t, func() bool { return content(signalled) == "0" })
		time.Sleep(time.Second)
		before := cpu(cmd.Process.Pid)
		for i := range changes {
			v.change.Add(1)
			await(t, func() bool { return content(signalled) == strconv.Itoa(i+1) })
		}
		cost[n], reads[n] = (cpu(cmd.Process.Pid)-before)/changes, v.others.Load()-int64(n-1)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	more := cost[10000] - cost[10]
	b.add("one of 10,000 secrets changes: requests for the other 9,999", strconv.FormatInt(reads[10000], 10), "0", reads[10000] == 0)
	b.add("the same: processor time for each change", fmt.Sprintf("%s; with 10 secrets %s", ms(cost[10000]), ms(cost[10])),
		"at most 10 ms more", more <= 10*time.Millisecond)
}

// latency: a KV change until the program runs with it.
func (b *bench) latency(t vaulttest.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"password": "0"})
	stamp := b.stamp()
	cmd := exec.Command(b.envexec, "--refresh=5s", "--quiet=0s", "--log-level=warn", "--env=PASSWORD=secret/app#password", "--", b.probe, stamp, "1h")
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+v.Addr, "VAULT_TOKEN="+v.RootToken)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v", err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	await(t, func() bool { return content(stamp) != "" })
	var all []time.Duration
	for i := range 8 {
		time.Sleep(time.Duration(i) * 650 * time.Millisecond) // at any point of the interval
		old := content(stamp)
		v.PutKV2(t, "secret/app", map[string]any{"password": strconv.Itoa(i + 1)})
		put := time.Now().UnixNano()
		await(t, func() bool { s := content(stamp); return s != "" && s != old })
		first, _, _ := strings.Cut(content(stamp), " ")
		started, _ := strconv.ParseInt(first, 10, 64)
		all = append(all, time.Duration(started-put))
	}
	b.add("KV 2 change to program restarted, interval 5 s, quiet 0", "longest of 8: "+ms(slices.Max(all)), "at most 5,200 ms",
		slices.Max(all) <= 5200*time.Millisecond)
}

// sealed: a start from the sealed cache against a start from Vault.
func (b *bench) sealed(t vaulttest.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"password": "one"})
	v.Policy(t, "bench", `path "secret/data/*" { capabilities = ["read"] }`)
	role := v.AppRole(t, nil, "bench")
	b.file(t, "key", "a key made for the purpose of this")
	config := b.file(t, "sealed.hcl", fmt.Sprintf("cache {\n  persist \"file\" {\n    path = %q\n    key_file = %q\n  }\n}\nenv \"PASSWORD\" {\n  secret = \"secret/app#password\"\n}\n",
		filepath.Join(b.dir, "state"), filepath.Join(b.dir, "key")))
	login := []string{"VAULT_ROLE_ID=" + role.ID, "VAULT_SECRET_ID=" + role.SecretID}
	up, down := make([]time.Duration, 31), make([]time.Duration, 31)
	for i := range up {
		up[i] = b.start(t, v.Addr, config, login...)
	}
	v.Stop(t)
	for i := range down {
		down[i] = b.start(t, v.Addr, config, login...)
	}
	ratio := float64(median(down)) / float64(median(up))
	b.add("start from the sealed cache, key from a file, connection refused", fmt.Sprintf("%s; with Vault up %s: %.2f times", ms(median(down)), ms(median(up)), ratio),
		"at most 2 times", ratio <= 2)
}

// hour and memory are measured inside the store, by its own tests.
func (b *bench) hour(t vaulttest.T) {
	m := b.test(t, "TestAnHourOfLogins", `(\d+) restarts, (\d+) requests of at most (\d+)`)
	b.add("program restarts in an hour (simulated) of 60 logins, values unchanged", m[1], "0", m[1] == "0")
	asked, _ := strconv.Atoi(m[2])
	most, _ := strconv.Atoi(m[3])
	b.add("requests to Vault in that hour, 50 secrets read every 5 minutes", m[2], "at most "+m[3]+", the sum of the schedules", asked <= most)
}

func (b *bench) memory(t vaulttest.T) {
	m := b.test(t, "TestMemoryPerLease", `(\d+) bytes a lease`)
	n, _ := strconv.Atoi(m[1])
	b.add("memory for 10,000 leases, each, its value included", m[1]+" bytes", "at most 4,096", n <= 4096)
}

func (b *bench) test(t vaulttest.T, name, pattern string) []string {
	cmd := exec.Command("go", "test", "-count=1", "-v", "-run", "^"+name+"$", "./lease")
	cmd.Dir = b.root
	out, err := cmd.CombinedOutput()
	m := regexp.MustCompile(pattern).FindStringSubmatch(string(out))
	if err != nil || m == nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return m
}

const begin, end = "<!-- figures: made by `make bench-store` -->\n", "<!-- end of figures -->"

// write puts the table into the page.
func (b *bench) write(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, _ := strings.Cut(string(text), begin)
	_, tail, found := strings.Cut(rest, end)
	if !found {
		return fmt.Errorf("%s has lost the marks of its figures", page)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\nTaken %s on %d cores, %s/%s.\n\n| Figure | Measured | Must be | Kept |\n|---|---|---|---|\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	for _, r := range b.rows {
		kept := "yes"
		if !r.kept {
			kept = "**no**"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", r.figure, r.got, r.must, kept)
	}
	return os.WriteFile(page, []byte(head+begin+table.String()+"\n"+end+tail), 0o644)
}
