package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options struct {
	vault    string
	envexec  string
	out      string
	duration time.Duration
	rounds   int
	leases   int
	only     string
}

// pair is the same configuration before the same upstream, served by envexec and by vault proxy.
type pair struct{ ours, theirs *child }

// field is what is measured: the servers and the token used before them.
type field struct {
	options
	dir                     string
	token                   string
	direct                  *child
	static, plain           pair // with cache_static_secrets, without
	alone                   pair // before standIn, each on the first core, all others on the second
	sidecar                 pair // plain, each with a sidecar's processor time
	fresh                   pair // as static, for reads of what they have not read yet
	groups                  []*group
	standIn                 *child
	bareLease, bareKV       *child
	leaseScript, readScript string
	wrk                     []string // how it is called
	distinctScript          string
	freshScript             string
}

const creation = `{"policies":["default"],"ttl":"24h","meta":{"n":"%s"}}`

func measure(o options) (err error) {
	f := &field{options: o}
	f.wrk = []string{"wrk"}
	for range 2 {
		g, err := newGroup(strconv.Itoa(len(f.groups)))
		if err != nil {
			return err
		}
		defer g.remove()
		f.groups = append(f.groups, g)
	}
	if f.dir, err = os.MkdirTemp("", "bench-proxy-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	defer f.stop()
	if f.only != "" && f.only != "pass" {
		return fmt.Errorf("unknown part %q", f.only)
	}
	if f.duration%time.Second != 0 {
		return errors.New("wrk measures whole seconds")
	}
	if err := f.start(); err != nil {
		return err
	}
	t := &table{}
	if err := f.passThrough(t); err != nil {
		return err
	}
	if f.only == "" {
		if err := f.cached(t); err != nil {
			return err
		}
	}
	return t.write(o)
}

// passThrough measures what no cache answers.
func (f *field) passThrough(t *table) error {
	f.wrk = append(on(1), "wrk")
	alone, err := f.rates("/v1/secret/data/any", f.readScript, 16, f.alone.ours, f.alone.theirs)
	if err != nil {
		return err
	}
	f.wrk = []string{"wrk"}
	t.row("uncached pass-through, the proxy alone on one core, before a stand-in that answers with Vault's bytes at once", alone[0].rate, alone[1].rate, "1/s", "vault proxy", atLeast, 3)
	t.row("the same, processor time of the proxy for a request", alone[0].cost, alone[1].cost, "us", "vault proxy", noLimit, 0)
	for _, where := range []struct {
		name    string
		proxies pair
	}{{"the proxy with a sidecar's quota of 250m", f.sidecar}, {"no quota, Vault leaves the proxy what it does not use", f.plain}} {
		for _, load := range []struct{ name, path, script string }{
			{fmt.Sprintf("KV reads of %d secrets in turn", secrets), "", f.distinctScript},
			{"sys/seal-status", "/v1/sys/seal-status", f.readScript},
		} {
			pass, err := f.rates(load.path, load.script, 16, where.proxies.ours, where.proxies.theirs, f.direct)
			if err != nil {
				return err
			}
			b := atLeast
			if pass[2].rate < 3*pass[1].rate {
				b = impossible
			}
			t.row("uncached pass-through, real Vault, "+where.name+": "+load.name, pass[0].rate, pass[1].rate, "1/s", "vault proxy", b, 3)
			t.row("the same: straight to Vault, the most that is possible here", pass[2].rate, pass[1].rate, "1/s", "vault proxy", noLimit, 0)
			t.row("the same, processor time of the proxy for a request", pass[0].cost, pass[1].cost, "us", "vault proxy", noLimit, 0)
		}
	}
	return nil
}

// secrets is how many there are for reads that never ask for the same soon again, and
// fresh how many more each round has for reads of what no proxy has read yet.
const (
	secrets = 20000
	fresh   = 50000
)

// write makes the secrets.
func (f *field) write() {
	var all sync.WaitGroup
	work := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range work {
				f.ask(f.direct, "POST", fmt.Sprintf("/v1/secret/data/s%d", i), "root", `{"data":{"user":"app","password":"correct horse battery staple"}}`)
			}
		})
	}
	for i := range secrets + f.rounds*fresh {
		work <- i
	}
	close(work)
	all.Wait()
}

// on is the prefix of a command that is to run on one core.
func on(core int) []string { return []string{"taskset", "-c", strconv.Itoa(core % runtime.NumCPU())} }

// cached measures what the cache answers.
func (f *field) cached(t *table) error {
	lease, err := f.rates("/v1/auth/token/create", f.leaseScript, 16, f.static.ours, f.static.theirs, f.bareLease)
	if err != nil {
		return err
	}
	t.row("cached lease", lease[0].rate, lease[1].rate, "1/s", "vault proxy", atLeast, 2.5)
	t.row("cached lease", lease[0].rate, lease[2].rate, "1/s", "a bare net/http handler", atLeast, 0.8)
	read, err := f.rates("/v1/secret/data/bench", f.readScript, 16, f.static.ours, f.static.theirs, f.bareKV)
	if err != nil {
		return err
	}
	t.row("cached KV read, at most 10 s old", read[0].rate, read[1].rate, "1/s", "vault proxy, stale for ever here", atLeast, 1.7)
	first, err := f.rates("", f.freshScript, 16, f.fresh.ours, f.fresh.theirs)
	if err != nil {
		return err
	}
	t.row("cached KV read", read[0].rate, first[1].rate, "1/s", "vault proxy's reads of secrets not read yet", atLeast, 15)
	t.row("first KV read of a secret, to be cached", first[0].rate, first[1].rate, "1/s", "vault proxy", noLimit, 0)
	n, err := f.burst()
	if err != nil {
		return err
	}
	t.row("requests to Vault for 1,000 equal ones of one caller at once, not yet cached", float64(n), 1, "", "one", atMost, 1)
	wide, err := f.rates("/v1/secret/data/bench", f.readScript, 256, f.static.ours, f.static.theirs)
	if err != nil {
		return err
	}
	t.row("p99 of cached KV reads at 256 connections", wide[0].p99, wide[1].p99, "us", "vault proxy", atMost, 0.5)
	if err := f.fill(); err != nil {
		return err
	}
	t.row(fmt.Sprintf("resident memory with %d cached leases", f.leases), f.static.ours.rss(), f.static.theirs.rss(), "KiB", "vault proxy", atMost, 0.25)
	return nil
}

// start runs Vault, both proxies and the bare handlers.
func (f *field) start() (err error) {
	port := freePort()
	f.direct, err = run(port, nil, f.dir, f.vault, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", fmt.Sprintf("-dev-listen-address=127.0.0.1:%d", port), "-log-level=error")
	if err != nil {
		return err
	}
	for range 500 { // listening comes before serving
		if status, _ := f.ask(f.direct, "GET", "/v1/sys/health", "", ""); status == 200 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, path := range []string{"bench"} {
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
	f.write()
	return f.servers()
}

// servers runs the proxies and the bare handlers, and writes wrk's scripts.
func (f *field) servers() (err error) {
	_, kv := f.ask(f.direct, "GET", "/v1/secret/data/bench", f.token, "")
	_, lease := f.ask(f.direct, "POST", "/v1/auth/token/create", f.token, fmt.Sprintf(creation, "bench"))
	for _, b := range []struct {
		body []byte
		to   **child
	}{{lease, &f.bareLease}, {kv, &f.bareKV}} {
		port := freePort()
		if *b.to, err = run(port, bytes.NewReader(b.body), f.dir, os.Args[0], "-role=bare", fmt.Sprintf("-address=127.0.0.1:%d", port)); err != nil {
			return err
		}
	}
	port := freePort()
	if f.standIn, err = run(port, bytes.NewReader(kv), f.dir, "taskset", append(on(1)[1:], os.Args[0], "-role=bare", fmt.Sprintf("-address=127.0.0.1:%d", port))...); err != nil {
		return err
	}
	sink := filepath.Join(f.dir, "token")
	if err := os.WriteFile(sink, []byte(f.token), 0o600); err != nil {
		return err
	}
	login := fmt.Sprintf("auto_auth { method \"token_file\" { config = { token_file_path = %q } } }\napi_proxy { use_auto_auth_token = true }\n", sink)
	for _, p := range []struct {
		config       string
		upstream     *child
		to           *pair
		ours, theirs []string // prefixes of the commands
	}{
		{login + "cache { cache_static_secrets = true }", f.direct, &f.static, nil, nil},
		{login + "cache { cache_static_secrets = true }", f.direct, &f.fresh, nil, nil},
		{login + "cache {}", f.direct, &f.plain, nil, nil},
		{login + "cache {}", f.direct, &f.sidecar, f.groups[0].in(), f.groups[1].in()},
		{"cache {}", f.standIn, &f.alone, on(0), on(0)},
	} {
		if p.to.ours, err = f.proxy(p.ours, f.envexec, p.upstream, p.config); err != nil {
			return err
		}
		if p.to.theirs, err = f.proxy(p.theirs, f.vault, p.upstream, p.config); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second) // until the logins are done, which nothing tells
	f.readScript, f.leaseScript = filepath.Join(f.dir, "read.lua"), filepath.Join(f.dir, "lease.lua")
	f.distinctScript, f.freshScript = filepath.Join(f.dir, "distinct.lua"), filepath.Join(f.dir, "fresh.lua")
	head := fmt.Sprintf("wrk.headers[\"X-Vault-Token\"] = %q\nwrk.headers[\"X-Vault-Request\"] = \"true\"\n", f.token)
	for path, text := range map[string]string{
		f.readScript: head,
		f.distinctScript: head + fmt.Sprintf("local threads = 0\nfunction setup(t) t:set(\"n\", threads * %d) threads = threads + 1 end\n"+
			"function request() n = (n + 1) %% %d return wrk.format(\"GET\", \"/v1/secret/data/s\" .. n) end\n", secrets/2, secrets),
		f.freshScript: head + fmt.Sprintf("local threads = 0\nfunction setup(t) t:set(\"n\", %d + threads * %d) threads = threads + 1 end\n"+
			"function init(args) n = n + args[1] * %d end\nfunction request() n = n + 1 return wrk.format(\"GET\", \"/v1/secret/data/s\" .. n - 1) end\n", secrets, fresh/2, fresh),
		f.leaseScript: head + fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %q\n", fmt.Sprintf(creation, "bench")),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// proxy runs binary as a proxy before upstream; prefix says where.
func (f *field) proxy(prefix []string, binary string, upstream *child, config string) (*child, error) {
	port := freePort()
	path := filepath.Join(f.dir, fmt.Sprintf("proxy-%d.hcl", port))
	if err := os.WriteFile(path, fmt.Appendf(nil, "vault { address = %q }\n%s\nlistener \"tcp\" {\n  address = \"127.0.0.1:%d\"\n  tls_disable = true\n}\n", upstream.url, config, port), 0o600); err != nil {
		return nil, err
	}
	command := append(prefix, binary, "proxy", "-config="+path)
	return run(port, nil, f.dir, command[0], command[1:]...)
}

func (f *field) stop() {
	for _, c := range []*child{f.static.ours, f.static.theirs, f.fresh.ours, f.fresh.theirs, f.plain.ours, f.plain.theirs, f.sidecar.ours, f.sidecar.theirs, f.alone.ours, f.alone.theirs, f.standIn, f.bareLease, f.bareKV, f.direct} {
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

// rates measures all servers in turn, several rounds, and returns their medians. The
// script is given the round's number.
func (f *field) rates(path, script string, connections int, servers ...*child) ([]figure, error) {
	found := make([][]figure, len(servers))
	for round := range f.rounds {
		for i, s := range servers {
			before := s.cpu()
			out, err := exec.Command(f.wrk[0], append(f.wrk[1:], "-t2", fmt.Sprintf("-c%d", connections), "-d"+f.duration.String(), "--latency", "-s", script, s.url+path, "--", strconv.Itoa(round))...).CombinedOutput()
			rate, p99 := ratePattern.FindSubmatch(out), p99Pattern.FindSubmatch(out)
			if err != nil || rate == nil || p99 == nil || bytes.Contains(out, []byte("Non-2xx")) {
				return nil, fmt.Errorf("wrk %s: %w\n%s", path, cmp.Or(err, errors.New("not every request was answered")), out)
			}
			var one figure
			one.rate, _ = strconv.ParseFloat(string(rate[1]), 64)
			one.p99, _ = strconv.ParseFloat(string(p99[1]), 64)
			one.p99 *= map[string]float64{"us": 1, "ms": 1e3, "s": 1e6}[string(p99[2])]
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
	return medians, nil
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
			_, body := f.ask(f.static.ours, "POST", "/v1/auth/token/create", f.token, fmt.Sprintf(creation, "burst"))
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
	for _, c := range []*child{f.static.ours, f.static.theirs} {
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
