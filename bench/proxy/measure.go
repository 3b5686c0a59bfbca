package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options struct {
	vault    string
	duration time.Duration
	rounds   int
	leases   int
	only     string
}

// field is what is measured: the servers and the token used before them.
type field struct {
	options
	dir                      string
	token                    string
	direct, ours, theirs     *child
	plain                    *child // vault proxy that keeps leases only
	bareLease, bareKV        *child
	leaseScript, readsScript string
}

const creation = `{"policies":["default"],"ttl":"24h","meta":{"n":"%s"}}`

func measure(_ context.Context, o options) (err error) {
	f := &field{options: o}
	if f.dir, err = os.MkdirTemp("", "bench-proxy-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	defer f.stop()
	if err := f.start(); err != nil {
		return err
	}
	if f.only != "" && f.only != "pass" {
		return fmt.Errorf("unknown part %q", f.only)
	}
	kv, uncached := "/v1/secret/data/bench", "/v1/secret/data/uncached?x=1" // a query we do not know: never kept
	show := func(name string, ours, than float64, unit, must string) {
		fmt.Printf("%-58s %10.0f %10.0f %-5s ratio %5.2f  must be %s\n", name, ours, than, unit, ours/than, must)
	}
	fmt.Printf("%-58s %10s %10s\n", "median of "+strconv.Itoa(o.rounds), "ours", "other")
	pass := f.rates(uncached, f.readsScript, 16, f.ours, f.plain, f.direct)
	show("uncached pass-through against vault proxy", pass[0].rate, pass[1].rate, "1/s", ">= 3")
	show("uncached pass-through against Vault itself", pass[0].rate, pass[2].rate, "1/s", "-")
	show("processor time of a proxy for one of these requests", pass[0].cost, pass[1].cost, "us", "-")
	if f.only != "" {
		return nil
	}
	lease := f.rates("/v1/auth/token/create", f.leaseScript, 16, f.ours, f.theirs, f.bareLease)
	show("cached lease against vault proxy", lease[0].rate, lease[1].rate, "1/s", ">= 2.5")
	show("cached lease against a bare handler", lease[0].rate, lease[2].rate, "1/s", ">= 0.8")
	read := f.rates(kv, f.readsScript, 16, f.ours, f.theirs, f.bareKV)
	show("cached KV read against vault proxy, stale for ever there", read[0].rate, read[1].rate, "1/s", ">= 1.7")
	show("cached KV read against a bare handler", read[0].rate, read[2].rate, "1/s", "-")
	wide := f.rates(kv, f.readsScript, 256, f.ours, f.theirs)
	show("p99 of cached KV reads at 256 connections", wide[0].p99, wide[1].p99, "us", "<= 0.5")
	show("cached KV read against vault proxy's uncached", read[0].rate, pass[1].rate, "1/s", ">= 15")
	n, err := f.burst()
	if err != nil {
		return err
	}
	fmt.Printf("%-58s %10d %27s must be 1\n", "requests to Vault for 1000 equal ones at once", n, "")
	if err := f.fill(); err != nil {
		return err
	}
	show(fmt.Sprintf("resident memory with %d cached leases", o.leases), f.ours.rss(), f.theirs.rss(), "KiB", "<= 0.25")
	return nil
}

// start runs Vault, both proxies and the bare handlers.
func (f *field) start() (err error) {
	port := freePort()
	f.direct, err = run(port, nil, nil, f.vault, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", fmt.Sprintf("-dev-listen-address=127.0.0.1:%d", port), "-log-level=error")
	if err != nil {
		return err
	}
	for range 500 { // listening comes before serving
		if status, _ := f.ask(f.direct, "GET", "/v1/sys/health", "", ""); status == 200 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, path := range []string{"bench", "uncached"} {
		var status int
		for range 500 { // the mount upgrades itself first
			if status, _ = f.ask(f.direct, "POST", "/v1/secret/data/"+path, "root", `{"data":{"user":"app","password":"correct horse battery staple"}}`); status == 200 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if status != 200 {
			return fmt.Errorf("cannot write %s: status %d", path, status)
		}
	}
	_, made := f.ask(f.direct, "POST", "/v1/auth/token/create", "root", `{"policies":["root"],"ttl":"24h"}`)
	var auth struct{ Auth struct{ Client_token string } }
	if err := json.Unmarshal(made, &auth); err != nil {
		return err
	}
	f.token = auth.Auth.Client_token
	if err := f.proxies(); err != nil {
		return err
	}
	_, lease := f.ask(f.ours, "POST", "/v1/auth/token/create", f.token, fmt.Sprintf(creation, "bench"))
	_, kv := f.ask(f.ours, "GET", "/v1/secret/data/bench", f.token, "")
	for _, b := range []struct {
		body []byte
		to   **child
	}{{lease, &f.bareLease}, {kv, &f.bareKV}} {
		port := freePort()
		if *b.to, err = run(port, bytes.NewReader(b.body), nil, os.Args[0], "-role=bare", fmt.Sprintf("-address=127.0.0.1:%d", port)); err != nil {
			return err
		}
	}
	f.readsScript = filepath.Join(f.dir, "read.lua")
	f.leaseScript = filepath.Join(f.dir, "lease.lua")
	head := fmt.Sprintf("wrk.headers[\"X-Vault-Token\"] = %q\nwrk.headers[\"X-Vault-Request\"] = \"true\"\n", f.token)
	if err := os.WriteFile(f.readsScript, []byte(head), 0o600); err != nil {
		return err
	}
	return os.WriteFile(f.leaseScript, []byte(head+fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %q\n", fmt.Sprintf(creation, "bench"))), 0o600)
}

func (f *field) proxies() (err error) {
	sink, config := filepath.Join(f.dir, "token"), filepath.Join(f.dir, "proxy.hcl")
	ours := freePort()
	if err := os.WriteFile(sink, []byte(f.token), 0o600); err != nil {
		return err
	}
	for _, p := range []struct {
		cache string
		to    **child
	}{{"cache_static_secrets = true", &f.theirs}, {"", &f.plain}} {
		port := freePort()
		if err := os.WriteFile(config, fmt.Appendf(nil, `
vault { address = %q }
auto_auth { method "token_file" { config = { token_file_path = %q } } }
api_proxy { use_auto_auth_token = true }
cache { %s }
listener "tcp" { address = "127.0.0.1:%d" tls_disable = true }
`, f.direct.url, sink, p.cache, port), 0o600); err != nil {
			return err
		}
		if *p.to, err = run(port, nil, nil, f.vault, "proxy", "-config="+config); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // until its own login is done, which nothing tells
	f.ours, err = run(ours, nil, []string{"VAULT_ADDR=" + f.direct.url, "VAULT_TOKEN=" + f.token}, os.Args[0], "-role=ours", fmt.Sprintf("-address=127.0.0.1:%d", ours))
	return err
}

func (f *field) stop() {
	for _, c := range []*child{f.ours, f.theirs, f.plain, f.bareLease, f.bareKV, f.direct} {
		if c != nil {
			c.stop()
		}
	}
}

func (f *field) ask(c *child, method, path, token, body string) (int, []byte) {
	r, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Request", "true")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, all
}

// figure is what wrk found: requests a second, and in microseconds the 99th percentile
// and the server's processor time for one request.
type figure struct{ rate, p99, cost float64 }

var (
	ratePattern = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	p99Pattern  = regexp.MustCompile(`99%\s+([0-9.]+)(us|ms|s)`)
)

// rates measures all servers in turn, several rounds, and returns their medians.
func (f *field) rates(path, script string, connections int, servers ...*child) []figure {
	found := make([][]figure, len(servers))
	for range f.rounds {
		for i, s := range servers {
			before := s.cpu()
			out, err := exec.Command("wrk", "-t2", fmt.Sprintf("-c%d", connections), "-d"+f.duration.String(), "--latency", "-s", script, s.url+path).CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("Non-2xx")) {
				fmt.Fprintf(os.Stderr, "wrk %s: %v\n%s", path, err, out)
			}
			var one figure
			if m := ratePattern.FindSubmatch(out); m != nil {
				one.rate, _ = strconv.ParseFloat(string(m[1]), 64)
			}
			if m := p99Pattern.FindSubmatch(out); m != nil {
				one.p99, _ = strconv.ParseFloat(string(m[1]), 64)
				one.p99 *= map[string]float64{"us": 1, "ms": 1e3, "s": 1e6}[string(m[2])]
			}
			one.cost = (s.cpu() - before) / one.rate / f.duration.Seconds()
			found[i] = append(found[i], one)
		}
	}
	medians := make([]figure, len(servers))
	for i, all := range found {
		slices.SortFunc(all, func(a, b figure) int { return int(a.rate - b.rate) })
		medians[i].rate = all[len(all)/2].rate
		slices.SortFunc(all, func(a, b figure) int { return int(a.p99 - b.p99) })
		medians[i].p99 = all[len(all)/2].p99
		slices.SortFunc(all, func(a, b figure) int { return int(a.cost - b.cost) })
		medians[i].cost = all[len(all)/2].cost
	}
	return medians
}

// burst sends 1000 equal requests at once for a token not made yet and counts the
// different tokens that came of it.
func (f *field) burst() (int, error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	tokens := map[string]bool{}
	begin := make(chan struct{})
	for range 1000 {
		all.Go(func() {
			<-begin
			_, body := f.ask(f.ours, "POST", "/v1/auth/token/create", f.token, fmt.Sprintf(creation, "burst"))
			var made struct{ Auth struct{ Accessor string } }
			_ = json.Unmarshal(body, &made)
			mu.Lock()
			tokens[made.Auth.Accessor] = true
			mu.Unlock()
		})
	}
	close(begin)
	all.Wait()
	if tokens[""] {
		return 0, fmt.Errorf("a request of the burst failed")
	}
	return len(tokens), nil
}

// fill makes both proxies hold many leases.
func (f *field) fill() error {
	for _, c := range []*child{f.ours, f.theirs} {
		var all sync.WaitGroup
		work := make(chan int)
		for range 16 {
			all.Go(func() {
				for i := range work {
					f.ask(c, "POST", "/v1/auth/token/create", f.token, fmt.Sprintf(creation, strconv.Itoa(i)))
				}
			})
		}
		for i := range f.leases {
			work <- i
		}
		close(work)
		all.Wait()
	}
	time.Sleep(2 * time.Second)
	return nil
}

// rss is the resident memory in KiB.
func (c *child) rss() float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// cpu is the processor time used so far in microseconds.
func (c *child) cpu() float64 {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) * 1e4 // ticks of 10 ms
}
