package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// server answers as a Vault that has the secrets secret/data/sN, at once.
type server struct {
	address string
	reads   atomic.Int64 // of all secrets
	others  atomic.Int64 // of those that do not change
	change  atomic.Int64 // the value of secret/data/s5
}

func serve(t vaulttest.T) *server {
	v := &server{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		name, isSecret := strings.CutPrefix(r.URL.Path, "/v1/secret/data/s")
		value := name
		switch {
		case r.URL.Path == "/v1/auth/token/lookup-self":
			fmt.Fprint(w, `{"data":{"id":"t","accessor":"a","ttl":0,"policies":["root"],"type":"service"}}`)
			return
		case !isSecret:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[]}`)
			return
		case name == "5":
			value = strconv.FormatInt(v.change.Load(), 10)
		default:
			v.others.Add(1)
		}
		v.reads.Add(1)
		fmt.Fprintf(w, `{"data":{"data":{"password":"value %s"},"metadata":{"created_time":"t","version":1}},"mount_type":"kv"}`, value)
	}))
	t.Cleanup(h.Close)
	v.address = h.URL
	return v
}

// many writes a configuration with n secrets.
func (b *bench) many(t vaulttest.T, n int, more string) string {
	var text strings.Builder
	text.WriteString(more)
	for i := range n {
		fmt.Fprintf(&text, "env \"PASSWORD_%d\" {\n  secret = \"secret/data/s%d#password\"\n}\n", i, i)
	}
	return b.file(t, fmt.Sprintf("many-%d.hcl", n), text.String())
}

func (b *bench) file(t vaulttest.T, name, text string) string {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

func (b *bench) stamp() string { return filepath.Join(b.dir, "stamp") }

// start runs envexec to its end and returns the time to the program's first instruction.
func (b *bench) start(t vaulttest.T, address, config string, env ...string) time.Duration {
	_ = os.Remove(b.stamp())
	cmd := exec.Command(b.envexec, "--config="+config, "--log-level=error", "--", b.probe, b.stamp())
	if len(env) == 0 {
		env = []string{"VAULT_TOKEN=t"}
	}
	cmd.Env = append(os.Environ(), append(env, "VAULT_ADDR="+address)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now().UnixNano()
	err := cmd.Run()
	first, _, _ := strings.Cut(content(b.stamp()), " ")
	at, perr := strconv.ParseInt(first, 10, 64)
	if err != nil || perr != nil {
		t.Fatalf("run envexec: %v\n%s", err, out.String())
	}
	return time.Duration(at - began)
}

func content(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

func await(t vaulttest.T, there func() bool) {
	for limit := time.Now().Add(2 * time.Minute); !there(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain")
		}
	}
}

// cpu is the processor time of all threads of a process, by the scheduler's account.
func cpu(pid int) time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		first, _, _ := strings.Cut(content(f), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

func median[N cmp.Ordered](all []N) N {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
